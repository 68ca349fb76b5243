"""Cities, names and devices of the world. Cities and names are Faker's."""

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from fraudstream.arrays import Floats, Integers

EARTH_RADIUS_KM = 6371.0


@dataclass(frozen=True, slots=True)
class Country:
    """A country: Faker's locale for its names, its share of the customers and how many cities we take."""

    code: str
    locale: str
    share: float
    cities: int


COUNTRIES: tuple[Country, ...] = (
    Country("US", "en_US", 0.40, 40),
    Country("GB", "en_GB", 0.12, 12),
    Country("DE", "de_DE", 0.10, 12),
    Country("FR", "fr_FR", 0.10, 12),
    Country("ES", "es_ES", 0.08, 8),
    Country("IT", "it_IT", 0.08, 8),
    Country("NL", "nl_NL", 0.05, 6),
    Country("BR", "pt_BR", 0.04, 8),
    Country("TR", "tr_TR", 0.03, 6),
    # Nobody lives here: customers travel here, and stolen cards are used here.
    *(Country(code, "", 0.0, 3) for code in ("AU", "CA", "ID", "IN", "JP", "MA", "MX", "NG", "PH", "TH")),
)

PHONES: tuple[str, ...] = (
    *(f"iPhone {n}" for n in ("11", "12", "13", "14", "15", "16", "SE")),
    *(f"Galaxy {n}" for n in ("A14", "A34", "A54", "S21", "S22", "S23", "S24")),
    *(f"Pixel {n}" for n in ("6", "7", "8", "9")),
    *("Redmi Note 12", "Redmi Note 13", "Moto G54", "OnePlus 11", "Xperia 10", "Fairphone 5"),
)
OTHERS: tuple[str, ...] = (
    *(f"{browser} on Windows" for browser in ("Chrome", "Edge", "Firefox", "Opera")),
    *(f"{browser} on macOS" for browser in ("Chrome", "Safari", "Firefox")),
    *(f"{browser} on Linux" for browser in ("Chrome", "Firefox")),
    *("iPad Air", "iPad mini", "Galaxy Tab S9", "Fire HD 10", "Apple Watch", "Contactless card", "Chip card"),
)
DEVICES: tuple[str, ...] = PHONES + OTHERS


@dataclass(frozen=True, slots=True)
class Cities:
    """The cities; all arrays have one row per city."""

    names: tuple[str, ...]
    """`Lyon, FR`"""
    country: Integers
    """Row of COUNTRIES."""
    weight: Floats
    """Share of the customers who live there."""
    offset: Integers
    """Whole hours from UTC by longitude: close enough to local time, without a time zone database."""
    km: Floats
    """Distances, (cities, cities)."""


def cities() -> Cities:
    """The cities of COUNTRIES, from Faker's list of real places."""
    from faker.providers.geo import Provider

    found: dict[str, list[tuple[str, float, float]]] = {country.code: [] for country in COUNTRIES}
    for latitude, longitude, name, code, _zone in Provider.land_coords:
        if code in found:
            found[code].append((name, float(latitude), float(longitude)))
    rows = [
        (f"{name}, {country.code}", number, country.share / (1 + place) ** 0.6, latitude, longitude)
        for number, country in enumerate(COUNTRIES)
        for place, (name, latitude, longitude) in enumerate(found[country.code][: country.cities])
    ]
    names, countries, weights, latitudes, longitudes = zip(*rows, strict=True)
    weight = np.array(weights)
    return Cities(
        names=names,
        country=np.array(countries),
        weight=weight / weight.sum(),
        offset=np.round(np.array(longitudes) / 15).astype(np.int64),
        km=distances(np.array(latitudes), np.array(longitudes)),
    )


def distances(latitude: Floats, longitude: Floats) -> Floats:
    """Great-circle distances in km between points in degrees, (n, n), by the haversine formula."""
    phi, lam = np.radians(latitude), np.radians(longitude)
    half = (
        np.sin((phi[:, None] - phi) / 2) ** 2
        + np.cos(phi[:, None]) * np.cos(phi) * np.sin((lam[:, None] - lam) / 2) ** 2
    )
    return np.asarray(2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(half, 0, 1))))


def names(locale: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """First and last names of a locale as Faker lists them.

    The lists themselves, since Faker's own call generates about 3,000 names a second and a world
    needs thousands before its first message.
    """
    provider: Any = importlib.import_module(f"faker.providers.person.{locale}").Provider
    return tuple(dict.fromkeys(provider.first_names)), tuple(dict.fromkeys(provider.last_names))
