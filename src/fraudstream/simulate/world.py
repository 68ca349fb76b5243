"""The population of the simulated world: customers with habits, merchants with prices. Determined by the seed."""

from dataclasses import dataclass

import numpy as np

from fraudstream.arrays import Floats, Integers, Truths
from fraudstream.errors import UsageError
from fraudstream.micros import DAY, HOUR, SECOND
from fraudstream.simulate import places, rhythm
from fraudstream.simulate.events import EVENT, AnyInts, Events, chance, pick

DEFAULT_SEED = 42
DEFAULT_USERS = 3_000
MOST_USERS = 1_000_000
PER_DAY = 2.0
"""Average number of transactions per customer and day."""
FAVOURITES = 8
HABIT = 0.78
"""Share of the purchases that go to a favourite merchant."""
FROM_THE_WEB = 0.3
"""Share of the favourite merchants that sell on the web."""
_RANKS = np.cumsum(1 / np.arange(1, FAVOURITES + 1))
"""The favourite merchant is visited twice as often as the second, three times as often as the third (Zipf)."""

KINDS: tuple[tuple[str, float, float, float], ...] = (
    # kind, price level (1 is the customer's usual amount), share sold online, weight
    ("grocery", 1.0, 0.1, 22),
    ("coffee", 0.16, 0.0, 12),
    ("restaurant", 0.9, 0.0, 13),
    ("fuel", 1.4, 0.0, 8),
    ("pharmacy", 0.6, 0.1, 7),
    ("transit", 0.1, 0.2, 9),
    ("apps", 0.1, 1.0, 8),
    ("marketplace", 1.2, 1.0, 9),
    ("fashion", 2.2, 0.4, 7),
    ("furniture", 6.0, 0.3, 3),
    ("electronics", 7.0, 0.5, 4),
    ("travel", 10.0, 0.8, 3),
    ("jewellery", 14.0, 0.2, 1.5),
)
# Hard negatives: honest behaviour that looks like fraud. Without them a single rule would be a detector.
OFTEN_AWAY = 0.08
"""Share of the customers who travel every few weeks; the others go on holiday once or twice a year."""
BIG_PURCHASE = 0.006
"""Share of honest purchases that are 7.5 to 67.5 times what the customer usually spends."""
BORROWED = 0.004
"""Share of honest purchases with another person's device."""
DAY_TRIP = 0.05
"""Share of honest purchases elsewhere in the customer's country."""
MOST_CENTS = 2_000_000
LEAST_CENTS = 50


@dataclass(frozen=True, slots=True)
class Merchants:
    """One row per merchant; rows of a city are adjacent."""

    city: Integers
    price: Floats
    online: Truths
    first: Integers
    """For each city, its first merchant…"""
    count: Integers
    """…and how many it has."""


@dataclass(frozen=True, slots=True)
class Customers:
    """One row per customer."""

    home: Integers
    level: Floats
    """Median amount in the account's currency."""
    spread: Floats
    """Standard deviation of the logarithm of the amount."""
    activity: Floats
    """Number of transactions relative to the average customer's."""
    group: Integers
    """Rhythm and offset from UTC: row of `rhythm.profiles`."""
    devices: Integers
    """Number of devices: 1 to 3."""
    favourites: Integers
    """Rows of merchants, (customers, FAVOURITES), the most frequented first."""
    travel_days: Integers
    """From the start of one journey to the start of the next."""
    travel_length: Integers
    phone_days: Integers
    """How long a phone is kept."""


def name_of(seed: int, users: int) -> str:
    """The unique name of a world, so that ids with this prefix mean the same person or shop in every run."""
    return f"{seed}-{users}"


def customers_of(name: str) -> str:
    """The unique prefix of customer ids in the world with this name."""
    return f"u{name}-"


class World:
    """The population of a seed: the same seed and size always give the same people.

    Raises UsageError if seed or size is invalid.
    """

    def __init__(self, seed: int = DEFAULT_SEED, users: int = DEFAULT_USERS) -> None:
        if not 0 <= seed < 2**63:
            raise UsageError("The seed must be a whole number from 0 to 2^63 - 1.")
        if not 1 <= users <= MOST_USERS:
            raise UsageError(f"The number of users must be from 1 to {MOST_USERS:,}.")
        self.seed, self.users = seed, users
        self.name = name_of(seed, users)
        rng = np.random.default_rng([seed, users])
        self.cities = places.cities()
        self.merchants = _merchants(rng, self.cities, max(600, users // 4))
        self.offsets = np.unique(self.cities.offset[self.cities.weight > 0])
        self.customers = _customers(rng, users, self.cities, self.merchants, self.offsets)
        self._schedule()

    def _schedule(self) -> None:
        """Cumulative weights for drawing a customer at an hour: first the group, then the customer in it."""
        people = self.customers
        profiles = rhythm.profiles(self.offsets)
        totals = np.bincount(people.group, weights=people.activity, minlength=len(profiles))
        weights = profiles * totals[:, None]
        hourly = weights.sum(axis=0)
        self.hourly = hourly * (PER_DAY / 24)
        """Transactions per hour for each hour of the week."""
        shares = np.cumsum(weights / hourly, axis=0).T
        shares[:, -1] = 1.0
        self._groups = len(profiles)
        # One sorted array for all 168 hours: hour + share, searched for hour + uniform.
        self._by_hour = (shares + np.arange(rhythm.HOURS_OF_WEEK)[:, None]).ravel()
        self._order = np.argsort(people.group, kind="stable")
        self._upto = np.cumsum(people.activity[self._order])
        ends = np.cumsum(np.bincount(people.group, minlength=self._groups))
        self._high = np.concatenate([[0.0], self._upto])[ends]
        self._low = np.concatenate([[0.0], self._high[:-1]])

    def ordinary(self, rng: np.random.Generator, at: AnyInts) -> Events:
        """One transaction of an honest customer for each of these times."""
        n = len(at)
        events = np.zeros(n, EVENT)
        events["at"] = at
        user = self.active(rng, at)
        self.fill(rng, events, user)
        return events

    def active(self, rng: np.random.Generator, at: AnyInts) -> Integers:
        """The customer who spends at each of these times."""
        hour = rhythm.hour_of_week(at)
        group = np.searchsorted(self._by_hour, hour + rng.random(len(at)), side="right")
        group = np.minimum(group - hour * self._groups, self._groups - 1)
        low, high = self._low[group], self._high[group]
        place = np.searchsorted(self._upto, low + rng.random(len(at)) * (high - low), side="right")
        return np.asarray(self._order[np.minimum(place, self.users - 1)])

    def fill(self, rng: np.random.Generator, events: Events, user: Integers) -> None:
        """Fill the other columns with what these customers would usually do at `events["at"]`."""
        n, day = len(events), events["at"] // DAY
        draw = rng.random((5, n))
        place, away = self.whereabouts(user, day)
        merchant = self._shop(user, place, draw[0], draw[1])
        # Travellers cannot reach shops elsewhere; they buy where they are.
        stuck = away & ~self.merchants.online[merchant] & (self.merchants.city[merchant] != place)
        merchant = np.where(stuck, self.shop_in(place, draw[1]), merchant)
        events["user"] = user
        events["merchant"] = merchant
        events["city"] = np.where(self.merchants.online[merchant], place, self.merchants.city[merchant])
        events["device"] = self.devices(user, day, draw[2], borrowed=draw[3] < BORROWED)
        events["cents"] = self._amounts(rng, user, merchant, draw[4])

    def whereabouts(self, user: Integers, day: Integers) -> tuple[Integers, Truths]:
        """Each customer's city on a day (days since 1970), and whether they are travelling."""
        people = self.customers
        period = people.travel_days[user]
        shifted = day + (chance(self.seed, 1, user) * period).astype(np.int64)
        away = shifted % period < people.travel_length[user]
        place = people.home[user].copy()
        rows = np.flatnonzero(away)
        if len(rows):
            where = chance(self.seed, 2, user[rows], shifted[rows] // period[rows])
            place[rows] = (where * len(self.cities.names)).astype(np.int64)
        return place, away

    def devices(self, user: Integers, day: Integers, uniform: Floats, *, borrowed: Truths) -> Integers:
        """The device they pay with: mostly their phone, which is replaced every few hundred days."""
        count = self.customers.devices[user]
        slot = np.minimum(np.floor(-np.log1p(-uniform * 0.95) * 1.1).astype(np.int64), count - 1)
        slot[borrowed] = -1
        phone = slot == 0
        kept = self.customers.phone_days[user]
        generation = (day + (chance(self.seed, 3, user) * 1000).astype(np.int64)) // kept
        drawn = chance(self.seed, 4, user, slot, np.where(phone, generation, 0))
        drawn[borrowed] = chance(self.seed, 5, user[borrowed], day[borrowed])
        first = np.where(phone | borrowed, 0, len(places.PHONES))
        many = np.where(phone, len(places.PHONES), len(places.OTHERS))
        many[borrowed] = len(places.DEVICES)
        return first + (drawn * many).astype(np.int64)

    def shop_in(self, city: Integers, uniform: Floats) -> Integers:
        """A merchant in each city; the first ones are visited more often."""
        shops = self.merchants
        return shops.first[city] + (uniform**1.5 * shops.count[city]).astype(np.int64)

    def _shop(self, user: Integers, place: Integers, uniform: Floats, second: Floats) -> Integers:
        people = self.customers
        merchant = people.favourites[user, pick(_RANKS, second)]
        local = np.flatnonzero(uniform >= HABIT)
        merchant[local] = self.shop_in(place[local], second[local])
        trip = np.flatnonzero(uniform >= 1 - DAY_TRIP)
        # Anywhere: the first rows are in the countries where most customers live.
        merchant[trip] = (second[trip] ** 1.3 * len(self.merchants.city)).astype(np.int64)
        return merchant

    def _amounts(
        self, rng: np.random.Generator, user: Integers, merchant: Integers, uniform: Floats
    ) -> Integers:
        people = self.customers
        usual = people.level[user] * self.merchants.price[merchant]
        amount = usual * np.exp(people.spread[user] * rng.standard_normal(len(user)))
        big = np.flatnonzero(uniform < BIG_PURCHASE)
        amount[big] = people.level[user[big]] * (5 + 40 * uniform[big] / BIG_PURCHASE) * 1.5
        return cents(amount)

    def natural_rate(self) -> float:
        """Transactions per second of this population at its own rate."""
        return float(self.hourly.mean() / (HOUR / SECOND))


def cents(amount: Floats) -> Integers:
    """Amounts in whole cents, within the limits of a card."""
    return np.clip(np.round(amount * 100), LEAST_CENTS, MOST_CENTS).astype(np.int64)


def _merchants(rng: np.random.Generator, cities: places.Cities, count: int) -> Merchants:
    """At least four merchants in each city, and more in larger ones."""
    rest = rng.choice(len(cities.weight), size=count, p=cities.weight)
    city = np.sort(np.concatenate([np.repeat(np.arange(len(cities.weight)), 4), rest]))
    prices, online, weights = (np.array([kind[column] for kind in KINDS], float) for column in (1, 2, 3))
    kind = rng.choice(len(KINDS), size=len(city), p=weights / weights.sum())
    number = np.bincount(city, minlength=len(cities.weight))
    return Merchants(
        city=city,
        price=prices[kind] * np.exp(0.25 * rng.standard_normal(len(city))),
        online=rng.random(len(city)) < online[kind],
        first=np.cumsum(number) - number,
        count=number,
    )


def _customers(
    rng: np.random.Generator, users: int, cities: places.Cities, shops: Merchants, offsets: AnyInts
) -> Customers:
    home = rng.choice(len(cities.weight), size=users, p=cities.weight)
    living = rng.choice(len(rhythm.SHARES), size=users, p=rhythm.SHARES)
    often = rng.random(users) < OFTEN_AWAY
    activity = np.maximum(rng.gamma(1.6, 1 / 1.6, users), 0.08)
    return Customers(
        home=home,
        level=30.0 * np.exp(0.55 * rng.standard_normal(users)),
        spread=rng.uniform(0.35, 0.8, users),
        activity=activity / activity.mean(),
        group=living * len(offsets) + np.searchsorted(offsets, cities.offset[home]),
        devices=rng.choice([1, 2, 3], size=users, p=[0.45, 0.35, 0.2]),
        favourites=_favourites(rng, home, shops),
        travel_days=np.where(often, rng.integers(10, 35, users), rng.integers(90, 400, users)),
        travel_length=np.where(often, rng.integers(1, 4, users), rng.integers(4, 17, users)),
        phone_days=rng.integers(250, 900, users),
    )


def _favourites(rng: np.random.Generator, home: Integers, shops: Merchants) -> Integers:
    """Mostly shops of the home city, else online sellers, wherever they are."""
    size = (len(home), FAVOURITES)
    near = shops.first[home][:, None] + (rng.random(size) * shops.count[home][:, None]).astype(np.int64)
    web = np.flatnonzero(shops.online)
    return np.where(rng.random(size) < FROM_THE_WEB, web[rng.integers(0, len(web), size)], near)
