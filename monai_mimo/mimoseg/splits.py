"""Splits by patient, never by slice."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import InputError
from ..files import digest

SPLITS = ("train", "validation", "test")
PUBLISHED, SMALL = "99:0.5:0.5", "80:10:10"
LARGE_SET = 100_000  # rows from which "auto" takes the published ratio


def parse_ratio(text: str) -> tuple[float, float, float]:
    """ "80:10:10" -> fractions that sum to 1.

    Raises:
        InputError: these are not three numbers, or the first is zero, or one is negative.
    """
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        parts = []
    if len(parts) != 3 or parts[0] <= 0 or min(parts) < 0:
        raise InputError("--split", repr(text), f"three numbers such as {SMALL} or {PUBLISHED}, or auto")
    total = sum(parts)
    return parts[0] / total, parts[1] / total, parts[2] / total


def split_patients(patients: Iterable[str], ratio: tuple[float, float, float], seed: int = 0) -> dict[str, str]:
    """Which split each patient of one set goes to.

    Patients are ordered by a hash, so other sets and the order of files change nothing. A split with a share above zero
    gets at least one patient once there are three.
    """
    names = sorted(set(patients), key=lambda name: digest(f"{seed}/{name}"))
    counts = [round(len(names) * share) for share in ratio[1:]]
    if len(names) >= 3:
        counts = [max(count, int(share > 0)) for count, share in zip(counts, ratio[1:])]
    validation, test = counts
    held_out = ["validation"] * validation + ["test"] * test
    return dict(zip(names, held_out + ["train"] * len(names)))
