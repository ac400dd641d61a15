"""Which questions a training run asks at each step: known from the step's number and the seed alone.

So every process can take its share of a step without being told, and a run that was stopped goes on where it stood.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from datasets import Dataset as Rows

from ..errors import InputError
from ..mimoseg.categories import NUMERALS

SET = "set"  # the column of `engines.load_sets` that says which set a row is of


class Draw(NamedTuple):
    """One image with the questions to be asked about it.

    Attributes:
        image: its number among the images of the rows.
        questions: which of its questions, as places in the list of them.
        seed: of what is random about it.
    """

    image: int
    questions: tuple[int, ...]
    seed: int


class Share(NamedTuple):
    """The part of a step that one process computes: micro-batches, and whether each counts. One that does not is there so
    that all processes have equally many; its gradient is multiplied by zero."""

    batches: list[list[Draw]]
    counted: list[bool]


class TrainingOrder:
    """An endless order of steps.

    With neither `balanced` nor weights, each pass asks every question once, in random order, and its last step may be
    smaller. Otherwise images are drawn at random with replacement, and questions of an image without.

    Args:
        rows: of a built set.
        groups: the row numbers of each image (`dataset.rows_by_image`).
        global_batch: images of a step, of all processes together.
        images_per_batch: the most images that are computed at once, a micro-batch.
        questions_per_image: the most questions about an image in a step.
        seed: another seed, another order.
        balanced: draw each modality of each source as often as any other.
        set_weights: how often questions of each set are drawn, relative to each other.
        perspective_weights: the same of perspectives (0 is VQA), within each set where sets are weighted; one that is not
            named is not drawn.
        image_shares: how often images of a source are drawn relative to others, 1 where a source is not named.
        absent_share: how often a question that names what is absent is drawn relative to others of its perspective.
        window: texts of similar length are batched together among those of so many steps. With 1 every step holds the same
            questions as without, and only its padding is smaller.

    Raises:
        InputError: a weight is negative, or names no set or perspective of the rows; nothing is left to draw.
    """

    def __init__(
        self,
        rows: Rows,
        groups: Sequence[Sequence[int]],
        *,
        global_batch: int,
        images_per_batch: int,
        questions_per_image: int,
        seed: int = 0,
        balanced: bool = False,
        set_weights: Mapping[str, float] | None = None,
        perspective_weights: Mapping[int, float] | None = None,
        image_shares: Mapping[str, float] | None = None,
        absent_share: float = 1,
        window: int = 1,
    ) -> None:
        self.images_per_batch, self.questions_per_image = images_per_batch, questions_per_image
        self.global_batch, self.seed, self.window = global_batch, seed, window
        counts = np.array([len(group) for group in groups])
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        flat = np.concatenate([np.asarray(group) for group in groups])  # rows, image after image
        self._image = np.repeat(np.arange(len(groups)), counts)
        self._length = np.array([len(q) + len(a) for q, a in zip(rows["question"], rows["answer"])])[flat]
        self._weights: np.ndarray | None = None
        if balanced or set_weights or perspective_weights or image_shares or absent_share != 1:
            self._weights = _weights(rows, balanced, set_weights, perspective_weights, image_shares, absent_share)[flat]
            self._drawn = np.bincount(self._image, self._weights)
            self._draws = len(groups)
        else:
            self._draws = int(np.ceil(counts / questions_per_image).sum())
        self._pass = lru_cache(maxsize=1)(self._make_pass)
        self._window = lru_cache(maxsize=2)(self._make_window)

    @property
    def steps_per_pass(self) -> int:
        """Steps until as many images were asked about as there are, or each question once."""
        return -(-self._draws // self.global_batch)

    def step(self, number: int) -> list[list[Draw]]:
        """The micro-batches of step `number`, counted from 0."""
        window, place = divmod(number % self.steps_per_pass, self.window)
        return self._window(number // self.steps_per_pass, window)[place]

    def share(self, number: int, rank: int = 0, processes: int = 1) -> Share:
        """What process `rank` computes of step `number`."""
        batches = self.step(number)
        rounds = -(-len(batches) // processes)
        mine = [rank + processes * turn for turn in range(rounds)]
        return Share([batches[min(n, len(batches) - 1)] for n in mine], [n < len(batches) for n in mine])

    def _make_window(self, number: int, window: int) -> list[list[list[Draw]]]:
        """The steps of a window of a pass."""
        rng = np.random.default_rng((self.seed, 1, number, window))
        first = window * self.window * self.global_batch
        size = min(self.window * self.global_batch, self._draws - first)
        if self._weights is None:
            places = self._pass(number)[first : first + size]
        else:
            chance = self._drawn / self._drawn.sum()
            places = [self._pick(image, rng) for image in rng.choice(len(chance), size=size, p=chance)]
        longest = np.array([self._length[p].max() for p in places])
        seeds = rng.integers(2**32, size=size)
        draws = []
        for n in np.argsort(longest, kind="stable"):
            image = int(self._image[places[n][0]])
            draws.append(Draw(image, tuple((places[n] - self._starts[image]).tolist()), int(seeds[n])))
        per_step = [min(self.global_batch, size - start) for start in range(0, size, self.global_batch)]
        per_step = [-(-images // self.images_per_batch) for images in per_step]  # micro-batches
        bounds = np.linspace(0, size, sum(per_step) + 1).round().astype(int)
        batches = [draws[a:b] for a, b in zip(bounds, bounds[1:])]
        if self.window > 1:
            batches = [batches[n] for n in rng.permutation(len(batches))]
        ends = np.cumsum(per_step)
        return [batches[end - count : end] for end, count in zip(ends, per_step)]

    def _pick(self, image: int, rng: np.random.Generator) -> np.ndarray:
        """Places of random questions about an image."""
        assert self._weights is not None
        places = np.arange(self._starts[image], self._starts[image + 1])
        chance = self._weights[places] / self._weights[places].sum()
        count = min(self.questions_per_image, int((chance > 0).sum()))
        return rng.choice(places, size=count, replace=False, p=chance)

    def _make_pass(self, number: int) -> list[np.ndarray]:
        """Places of the questions of each draw of a pass: every question once."""
        rng = np.random.default_rng((self.seed, 0, number))
        shuffled = np.lexsort((rng.random(len(self._image)), self._image))  # within each image
        within = np.arange(len(shuffled)) - self._starts[self._image]
        draws = np.split(shuffled, np.flatnonzero(within % self.questions_per_image == 0)[1:])
        return [draws[n] for n in rng.permutation(len(draws))]


def _weights(
    rows: Rows,
    balanced: bool,
    set_weights: Mapping[str, float] | None,
    perspective_weights: Mapping[int, float] | None,
    image_shares: Mapping[str, float] | None,
    absent_share: float,
) -> np.ndarray:
    """How often each row is drawn, relative to the others [n]."""
    count = len(rows["image_id"])
    weights = np.ones(count)
    if balanced:  # each image as often as others of its kind, each kind as often as others
        images, kinds = _codes(rows["image_id"]), _codes(zip(rows["source"], rows["modality"]))
        weights /= np.bincount(images)[images]
        weights /= np.bincount(kinds, weights)[kinds]
    if image_shares:
        weights *= _wanted(image_shares, rows["source"], "image_shares", default=1)
    if not absent_share >= 0:
        raise InputError("absent_share", f"{absent_share}", "a number of at least 0")
    if absent_share != 1:
        weights *= np.where([bool(names) for names in rows["absent"]], absent_share, 1)
    if set_weights and SET not in rows.column_names:
        raise InputError("set_weights", "one set", "`datasets` of several")
    sets = list(rows[SET]) if set_weights else [""] * count
    if perspective_weights:
        wanted = _wanted(perspective_weights, rows["perspective"], "perspective_weights", range(len(NUMERALS)))
        cells = _codes(zip(sets, rows["perspective"]))
        totals = np.bincount(cells, weights)[cells]
        weights *= wanted / np.where(totals > 0, totals, 1)
    if set_weights:
        codes = _codes(sets)
        totals = np.bincount(codes, weights)[codes]
        weights *= _wanted(set_weights, sets, "set_weights") / np.where(totals > 0, totals, 1)
    if not weights.sum() > 0:
        raise InputError("weights of sets and perspectives", "no question with a weight above 0", "some")
    return weights


def _codes(values: Sequence | zip) -> np.ndarray:
    """Numbers [n] that are equal where values are."""
    known: dict[object, int] = {}
    return np.array([known.setdefault(value, len(known)) for value in values])


def _wanted(
    weights: Mapping, values: Sequence, where: str, names: Sequence | None = None, default: float = 0
) -> np.ndarray:
    """The weight [n] of each value, `default` where it has none; `names` are those that may be there."""
    known = set(values) if names is None else set(names)
    for name, weight in weights.items():
        if name not in known:
            raise InputError(where, repr(name), f"one of {', '.join(map(repr, sorted(known)))}")
        if not weight >= 0:
            raise InputError(where, f"{weight} for {name!r}", "a number of at least 0")
    return np.array([float(weights.get(value, default)) for value in values])
