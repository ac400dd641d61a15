"""Damaged files, drawn from a seed: bytes changed, most of them in the header, text changed, or the end cut off."""

from __future__ import annotations

import re
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from monai_mimo.errors import MimoError

LONGEST, LARGEST = 10.0, 2 * 2**30  # seconds for one file, and bytes for all
EDGES = [0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF]
NUMBERS = ["0", "-1", "1", "2", "19", "31", "65536", "99999999999", "1e308", "0.5", "-0", "nan", "null", "[]", "7 8"]
WORDS = ["", "a", "true", "LIST", "../x", "%03d", "x" * 300, "é", "\x00", "{}", "<b>"]


def damaged(data: bytes, rng: np.random.Generator, header: int = 400) -> bytes:
    """One way to damage a file.

    Args:
        header: so many bytes at its start are hit most.
    """
    out = bytearray(data)
    way = rng.integers(6)
    if way == 0:
        return bytes(out[: rng.integers(0, len(out))])
    if way == 1:
        place = rng.integers(0, len(out))
        return bytes(out[:place] + rng.bytes(int(rng.integers(1, 40))) + out[place:])
    reach = len(out) if way == 2 else min(header, len(out))
    for _ in range(int(rng.integers(1, 12 if way == 2 else 5))):
        place = int(rng.integers(0, reach))
        if way == 3:  # a number of 2 or 4 bytes
            value = rng.choice([0, 1, 0x7FFF, 0x8000, 0xFFFF, int(rng.integers(0, 2**31)), 2**31 - 1])
            out[place : place + 4] = int(value).to_bytes(4, "little" if rng.random() < 0.5 else "big")
        else:
            out[place] = int(rng.choice(EDGES)) if rng.random() < 0.5 else int(rng.integers(0, 256))
    return bytes(out)


def misspelt(text: bytes, rng: np.random.Generator) -> bytes:
    """One way to change a text: some of its numbers and words, or as `damaged` does."""
    if rng.random() < 0.2:
        return damaged(text, rng, len(text))
    parts = re.split(rb"(-?[0-9][0-9.]*|[A-Za-z_]+)", text)
    for _ in range(int(rng.integers(1, 3))):
        place = 1 + 2 * int(rng.integers(0, len(parts) // 2))
        words = NUMBERS if parts[place][:1] in b"-0123456789" else WORDS
        parts[place] = str(rng.choice(words)).encode()
    return b"".join(parts)


def hold(
    seeds: dict[str, bytes],
    count: int,
    write: Path,
    read: Callable[[Path], object],
    text: bool = False,
    header: int = 400,
    longest: float = LONGEST,
) -> int:
    """Damage files `count` times: each is read, or is an error of ours in one line, in bounded time and memory.

    Args:
        seeds: names of files, whose suffix tells what they are, and what is in them.
        write: the folder for the damaged one.
        header: as of `damaged`.
        longest: seconds that one may take.

    Returns:
        how many were read.
    """
    rng = np.random.default_rng(20_261_128)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    good = 0
    for name, data in _in_turn(seeds, count):
        path = write / name
        path.write_bytes(misspelt(data, rng) if text else damaged(data, rng, header))
        start = time.monotonic()
        fault = ""
        try:
            read(path)
            good += 1
        except MimoError as error:
            fault = str(error)
        assert "\n" not in fault
        assert len(fault) < 2000
        assert time.monotonic() - start < longest, path
        path.unlink()
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert grown < LARGEST
    return good


def _in_turn(seeds: dict[str, bytes], count: int) -> Iterator[tuple[str, bytes]]:
    names = list(seeds)
    for number in range(count):
        yield names[number % len(names)], seeds[names[number % len(names)]]
