"""Encodes simulated transactions as messages: JSON in bytes, over a quarter of a million per second and core.

The parts for a customer, device, city or merchant are encoded once and cached as pieces of JSON;
for each message only id, time and amount are new, and numpy writes those for a whole block.
"""

import hashlib
import json
import unicodedata
from typing import Any

import numpy as np
import numpy.typing as npt

from fraudstream.micros import DAY, SECOND
from fraudstream.simulate import places
from fraudstream.simulate.events import AnyInts, Events, chance
from fraudstream.simulate.scenarios import NAMES
from fraudstream.simulate.world import MOST_CENTS, World, customers_of

CURRENCY = "USD"
"""The account currency of all customers: amounts in different ones could not be compared."""
SEQUENCE_DIGITS = 12
_TEMPLATE = b'{"transaction_id":"%s-000000000000","timestamp":"0000-00-00T00:00:00.000000Z","amount":'
Pieces = npt.NDArray[np.object_]


def _table(pieces: list[bytes]) -> Pieces:
    table = np.empty(len(pieces), object)
    table[:] = pieces
    return table


def _json(**fields: str) -> bytes:
    """Fields as the inside of a JSON object, with a comma after each."""
    return "".join(
        f"{json.dumps(name)}:{json.dumps(value, ensure_ascii=False)}," for name, value in fields.items()
    ).encode()


class Encoder:
    """Encodes the transactions of one stream; ids derive from `start`, the world, and `plan`: what else shapes the stream.

    Two streams that differ in any of them share no transaction ids. Customers and merchants are
    named after their world, its seed and its size: a larger world has different people, who under the same id
    would be a customer whose habits change from one run to the next.
    """

    def __init__(self, world: World, start: int, plan: str = "") -> None:
        self._world = world
        stream = hashlib.blake2b(f"{world.name}/{start}/{plan}".encode(), digest_size=8).hexdigest()
        # Ids of a stream are ascending, so that an index on them grows at its end.
        self._head = _Head(stream)
        self._users = np.empty(world.users, object)
        self._keys = np.empty(world.users, object)
        self._known = np.zeros(world.users, bool)
        self._names = [places.names(c.locale) if c.locale else ((), ()) for c in places.COUNTRIES]
        self._devices = _table([_json(device=name) for name in places.DEVICES])
        self._cities = _table([_json(transaction_location=name) for name in world.cities.names])
        self._merchants = _table(
            [
                _json(merchant_id=f"m{world.name}-{row:05d}", currency=CURRENCY)
                for row in range(len(world.merchants.city))
            ]
        )
        self._labels = _table(
            [
                b'"is_fraud":0}',
                *(b'"is_fraud":1,"fraud_scenario":"%s"}' % name.encode() for name in NAMES),
            ]
        )
        self._whole = _table([b"%d" % whole for whole in range(MOST_CENTS // 100 + 1)])
        self._cents = _table([b".%02d," % cents for cents in range(100)])

    def encode(self, events: Events, first: int) -> tuple[list[bytes], list[bytes]]:
        """Keys and values of these transactions; `first` is the first one's number in the stream."""
        users, cents = events["user"], events["cents"]
        self._meet(users)
        pieces = (
            self._head.write(events["at"], first),
            self._whole[cents // 100].tolist(),
            self._cents[cents % 100].tolist(),
            self._users[users].tolist(),
            self._devices[events["device"]].tolist(),
            self._cities[events["city"]].tolist(),
            self._merchants[events["merchant"]].tolist(),
            self._labels[events["scenario"]].tolist(),
        )
        return self._keys[users].tolist(), list(map(b"".join, zip(*pieces, strict=True)))

    def _meet(self, users: AnyInts) -> None:
        """Encode the pieces of new customers."""
        for user in np.unique(users[~self._known[users]]):
            person = self.person(int(user))
            self._users[user] = _json(**person)
            self._keys[user] = person["user_id"].encode()
            self._known[user] = True

    def person(self, user: int) -> dict[str, str]:
        """The fields of a customer in a message."""
        world = self._world
        home = int(world.customers.home[user])
        firsts, lasts = self._names[int(world.cities.country[home])]
        first = firsts[int(chance(world.seed, 20, user) * len(firsts))]
        last = lasts[int(chance(world.seed, 21, user) * len(lasts))]
        # example.com and its siblings are reserved (RFC 2606), so no real mailbox is ever named.
        domain = "example." + ("com", "net", "org")[user % 3]
        return {
            "user_id": f"{customers_of(world.name)}{user:05d}",
            "first_name": first,
            "last_name": last,
            "full_name": f"{first} {last}",
            "email": f"{_plain(first)}.{_plain(last)}{user}@{domain}",
            "location": world.cities.names[home],
        }


def _plain(name: str) -> str:
    """A name with ASCII letters only."""
    decomposed = unicodedata.normalize("NFKD", name.lower())
    return "".join(c for c in decomposed if c.isascii() and c.isalnum()) or "x"


class _Head:
    """The start of a message, of fixed length: id and time are at fixed positions."""

    def __init__(self, stream: str) -> None:
        template = _TEMPLATE % stream.encode()
        number = template.index(b"-") + 1
        date = template.index(b"0000-00-00T")
        time = date + len("0000-00-00T")
        fields: dict[str, tuple[Any, int]] = {
            **{f"n{part}": ("S4", number + 4 * part) for part in range(SEQUENCE_DIGITS // 4)},
            "date": ("S11", date),
            **{name: ("S2", time + 3 * part) for part, name in enumerate(("hour", "minute", "second"))},
            "milli": ("S3", time + 9),
            "micro": ("S3", time + 12),
        }
        self._fields = np.dtype(
            {
                "names": list(fields),
                "formats": [format_ for format_, _ in fields.values()],
                "offsets": [offset for _, offset in fields.values()],
                "itemsize": len(template),
            }
        )
        self._template = np.frombuffer(template, np.uint8)
        self._two = np.array([b"%02d" % n for n in range(100)])
        self._three = np.array([b"%03d" % n for n in range(1_000)])
        self._four = np.array([b"%04d" % n for n in range(10_000)])

    def write(self, at: AnyInts, first: int) -> list[bytes]:
        rows = np.empty((len(at), len(self._template)), np.uint8)
        rows[:] = self._template
        head = rows.view(self._fields)[:, 0]
        number = np.arange(first, first + len(at))
        for part, unit in enumerate((100_000_000, 10_000, 1)):
            head[f"n{part}"] = self._four[number // unit % 10_000]
        day, within = np.divmod(at, DAY)
        days, row = np.unique(day, return_inverse=True)
        # datetime64 formats years before 1000 and after 9999 differently, but no such stream can start.
        head["date"] = np.char.add(days.astype("datetime64[D]").astype("S10"), b"T")[row]
        second, micro = np.divmod(within, SECOND)
        head["hour"] = self._two[second // 3_600]
        head["minute"] = self._two[second // 60 % 60]
        head["second"] = self._two[second % 60]
        head["milli"] = self._three[micro // 1_000]
        head["micro"] = self._three[micro % 1_000]
        whole: list[bytes] = rows.view(f"S{len(self._template)}")[:, 0].tolist()
        return whole
