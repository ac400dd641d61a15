"""How much of a source set is used, so that the proportions of a published data set can be reached."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import InputError
from ..files import digest
from .cases import Case


@dataclass(frozen=True)
class SourceUse:
    """How one source is used; none: all of it, as the rest of the build.

    Attributes:
        fraction: of its cases, above 0 and up to 1.
        cases, images, rows: the most that are taken.
        perspectives: which are made of it, of those that its record allows.
        questions_per_image: about how many rows an image gives.
    """

    fraction: float | None = None
    cases: int | None = None
    images: int | None = None
    rows: int | None = None
    perspectives: tuple[int, ...] | None = None
    questions_per_image: int | None = None


def sample_cases(cases: Sequence[Case], use: SourceUse, seed: int) -> list[Case]:
    """The cases of a source that may be used: those that come first when ordered by a hash, so that more of them are a
    superset. They stay in that order where images or rows are limited, which takes the first ones of it, and come back in
    the order of the source otherwise.

    Raises:
        InputError: a limit below 1, or a fraction that is none.
    """
    for name, value in (("cases", use.cases), ("images", use.images), ("rows", use.rows)):
        if value is not None and value < 1:
            raise InputError(f"limit of {name}", str(value), "1 or more")
    if use.fraction is not None and not 0 < use.fraction <= 1:
        raise InputError("fraction", str(use.fraction), "above 0 and up to 1")

    def place(number: int) -> str:
        return digest(f"{seed}/sample/{cases[number].source}/{cases[number].key}")

    count = len(cases)
    if use.fraction is not None:
        count = max(1, round(count * use.fraction))
    if use.cases is not None:
        count = min(count, use.cases)
    if use.images is None and use.rows is None and count == len(cases):
        return list(cases)
    chosen = sorted(range(len(cases)), key=place)[:count]
    return [cases[n] for n in (chosen if use.images or use.rows else sorted(chosen))]


class Budget:
    """What is left of the limits of images and rows of one source. Its cases are charged in their order."""

    def __init__(self, use: SourceUse) -> None:
        self.images, self.rows = use.images, use.rows

    @property
    def spent(self) -> bool:
        """Whether nothing more is taken."""
        return self.images == 0 or self.rows == 0

    def take(self, rows: Iterable[int]) -> tuple[int, ...]:
        """From the rows of each image of a case to those that are taken of each."""
        taken = []
        for count in rows:
            if self.spent:
                break
            if self.rows is not None:
                count = min(count, self.rows)
                self.rows -= count
            if self.images is not None:
                self.images -= 1
            taken.append(count)
        return tuple(taken)
