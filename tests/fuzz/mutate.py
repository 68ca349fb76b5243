"""Bytes changed at random, from a seed: the same ones every time."""

from collections.abc import Iterator, Sequence
from random import Random

LONGEST = 20_000
"""Bytes: what is longer only slows the search."""


def mutants(seeds: Sequence[bytes], words: Sequence[bytes], chance: Random) -> Iterator[bytes]:
    """Endlessly many: seeds with one to a dozen changes, some made of two seeds."""
    while True:
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.choice((1, 1, 1, 2, 3, 5, 12))):
            _change(data, seeds, words, chance)
        yield bytes(data[:LONGEST])


def _change(data: bytearray, seeds: Sequence[bytes], words: Sequence[bytes], chance: Random) -> None:
    at = chance.randint(0, len(data))
    length = min(chance.choice((1, 1, 2, 4, 8, 40, 400)), len(data) - at)
    match chance.randrange(8):
        case 0 if length:
            data[at] ^= 1 << chance.randrange(8)
        case 1 if length:
            data[at] = chance.choice((0, 1, 0x22, 0x2C, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        case 2:
            data[at:at] = chance.randbytes(chance.choice((1, 2, 4, 8)))
        case 3:
            del data[at : at + length]
        case 4:
            data[at:at] = data[at : at + length] * chance.choice((1, 2, 30))
        case 5:
            other = chance.choice(seeds)
            data[at:] = other[chance.randint(0, len(other)) :]
        case _:
            data[at : at + chance.choice((0, length))] = chance.choice([*words, b""])
