"""The password: asked once for each session, compared in constant time, and slow to guess."""

import hmac
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import streamlit as st

from fraudstream.dashboard import launch
from fraudstream.settings import DashboardSettings

FREE = 3
"""Wrong passwords before a wait: people mistype."""
LONGEST_WAIT = 60.0
"""Seconds; a guesser gets 1,440 tries a day, and whoever knows the password never waits longer."""
PASSED = "passed"
"""Key of the session."""
BURST, EVERY = 20, 5.0
"""Wrong passwords from all addresses together before a wait, and the seconds that give one of them back. Whoever owns a
network of addresses, as everybody with IPv6 does, gets no further; whoever knows the password waits 5 s at most for it."""
REMEMBERED = 10_000
"""Addresses whose failures are kept: an attacker with more must not fill the memory."""


@dataclass
class Throttle:
    """Wrong passwords by the address they came from; each beyond FREE doubles the wait until the next one is looked at.

    Beside that, all addresses together have BURST of them, and one more EVERY few seconds.
    """

    clock: Callable[[], float] = time.monotonic
    _failures: "OrderedDict[str, tuple[int, float]]" = field(default_factory=OrderedDict)
    _all: tuple[float, float] = (0.0, 0.0)
    """How many of BURST are taken, and since when."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def attempt(self, address: str, given: str, password: str) -> float | None:
        """None where the password is right; else the seconds until another one is looked at. One inside the wait is not."""
        with self._lock:
            now = self.clock()
            count, last = self._failures.get(address, (0, 0.0))
            taken = max(self._all[0] - (now - self._all[1]) / EVERY, 0.0)
            waits = max(last + wait(count) - now if count > FREE else 0.0, (taken + 1 - BURST) * EVERY)
            if waits > 0:
                return waits
            if hmac.compare_digest(given.encode(), password.encode()):
                self._failures.pop(address, None)
                return None
            self._all = taken + 1, now
            self._failures[address] = (count + 1, now)
            self._failures.move_to_end(address)
            if len(self._failures) > REMEMBERED:
                self._failures.popitem(last=False)
            return wait(count + 1)


def wait(failures: int) -> float:
    """Seconds to wait after so many wrong passwords in a row."""
    return min(2.0 ** (failures - FREE), LONGEST_WAIT) if failures > FREE else 0.0


@st.cache_resource
def _throttle() -> Throttle:
    return Throttle()


def is_open(settings: DashboardSettings) -> bool:
    """Whether this session may see the pages.

    Raises SettingsError where the server, started by other means than `fraudstream dashboard`, is open to everybody.
    """
    address = st.get_option("server.address") or "0.0.0.0"  # noqa: S104 - Streamlit's own default
    launch.check_closed(settings.model_copy(update={"host": address}))
    return settings.secret() is None or bool(st.session_state.get(PASSED))


def ask(settings: DashboardSettings) -> None:
    """The form in the place of the page; the right password brings the page that was asked for."""
    secret = settings.secret()
    assert secret is not None, "asked only where there is one"  # noqa: S101 - narrows the type
    with st.container(horizontal_alignment="center"), st.form("password", width=380):
        st.subheader("fraudstream", anchor=False)
        given = st.text_input("Password", type="password", autocomplete="current-password")
        if st.form_submit_button("Open", type="primary", width="stretch") and given:
            address = st.context.ip_address or "this machine"
            waits = _throttle().attempt(address, given, secret.get_secret_value())
            if waits is None:
                st.session_state[PASSED] = True
                st.rerun()
            st.error(
                f"Wrong password, or too soon after one: wait {waits:.0f} s, then try again."
                if waits > 0
                else "Wrong password."
            )
