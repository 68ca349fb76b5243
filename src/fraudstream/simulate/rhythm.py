"""When people spend: daily and weekly rhythms, in local time."""

import numpy as np

from fraudstream.arrays import Floats, Integers
from fraudstream.micros import HOUR
from fraudstream.simulate.events import AnyInts

HOURS_OF_WEEK = 168
_FLOOR = 0.04
"""Minimum activity at any hour: without honest payments at night the hour alone would give fraud away."""
_BUMPS: tuple[tuple[tuple[float, float, float], ...], ...] = (
    # (local hour, width in hours, height)
    ((7.5, 1.2, 1.0), (12.0, 1.5, 0.8), (17.0, 2.0, 0.7)),  # early birds
    ((12.5, 1.3, 1.0), (18.5, 2.0, 1.0)),  # office hours
    ((10.5, 3.5, 1.0), (16.0, 3.0, 0.8)),  # at home in the day
    ((20.0, 2.2, 1.0), (13.0, 2.5, 0.4)),  # evenings
    ((23.5, 2.5, 1.0), (3.0, 2.0, 0.5), (18.0, 3.0, 0.5)),  # nights and shifts
)
SHARES = np.array([0.2, 0.35, 0.2, 0.18, 0.07])
"""Share of the customers with each rhythm."""
_WEEK = np.array([0.92, 0.93, 0.96, 1.0, 1.18, 1.22, 0.79])
"""Monday to Sunday: people buy on Fridays and Saturdays."""


def hour_of_week(at: AnyInts) -> Integers:
    """0 to 167 from Monday midnight UTC. 1 January 1970 was a Thursday."""
    return np.asarray((at // HOUR + 3 * 24) % HOURS_OF_WEEK, np.int64)


def profiles(offsets: AnyInts) -> Floats:
    """Relative activity by rhythm, offset from UTC (whole hours) and hour of the week in UTC.

    Shape (rhythms * offsets, 168), rhythm-major; each row has mean 1.
    """
    hours = np.arange(24)
    day = np.full((len(_BUMPS), 24), _FLOOR)
    for row, bumps in enumerate(_BUMPS):
        for centre, width, height in bumps:
            apart = (hours - centre + 12) % 24 - 12
            day[row] += height * np.exp(-0.5 * (apart / width) ** 2)
    week = (day[:, None, :] * _WEEK[None, :, None]).reshape(len(_BUMPS), HOURS_OF_WEEK)
    week /= week.mean(axis=1, keepdims=True)
    local = (np.arange(HOURS_OF_WEEK)[None, :] + np.asarray(offsets)[:, None]) % HOURS_OF_WEEK
    return np.asarray(week[:, local].reshape(-1, HOURS_OF_WEEK))
