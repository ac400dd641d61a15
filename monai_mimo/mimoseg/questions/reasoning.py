"""Perspectives III and IV: drafts about entities that a slice shows, with prompts drawn from its masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .draft import Draft
from .perspectives import Sample, add_prompt
from .slice_masks import SliceMasks

SEVERAL = 0.25  # of the questions about images with several entities of which something is known
MOST_ENTITIES = 3  # in one question

Pool = Callable[[tuple[str, ...], int, str], Sequence[Draft]]


def reasoning(
    masks: SliceMasks,
    known: Sequence[str],
    perspective: int,
    count: int,
    pool: Pool,
    rng: np.random.Generator,
) -> list[Sample]:
    """Write up to `count` samples of perspective III or IV, no draft twice.

    Args:
        masks: all entities of the slice.
        known: those of them that have a knowledge record.
        pool: (entities, perspective, clue) -> the drafts that may be used.
    """
    samples: list[Sample] = []
    used: set[Draft] = set()
    order = [known[i] for i in rng.permutation(len(known))]
    for number in range(count if known else 0):
        one, clue = order[number // 2 % len(order)], "point" if number % 2 else "box"
        choices: list[tuple[tuple[str, ...], str]] = [((one,), clue if perspective == 4 else "")]
        if len(known) > 1 and rng.random() < SEVERAL:
            choices.insert(0, (several(known, rng, ordered=perspective == 3), "box" if perspective == 4 else ""))
        for entities, marked_by in choices:  # where nothing is known that several share, one of them is asked for
            drafts = [draft for draft in pool(entities, perspective, marked_by) if draft not in used]
            if drafts:
                draft = drafts[int(rng.integers(len(drafts)))]
                used.add(draft)
                samples.append(sample_of(draft, masks, rng))
                break
    return samples


def several(known: Sequence[str], rng: np.random.Generator, ordered: bool) -> tuple[str, ...]:
    """Two or three of the entities, in their own order or, where prompts say which is which, in any."""
    size = int(rng.integers(2, min(len(known), MOST_ENTITIES) + 1))
    chosen = rng.choice(len(known), size=size, replace=False)
    return tuple(known[i] for i in (sorted(chosen) if ordered else chosen))


def sample_of(draft: Draft, masks: SliceMasks, rng: np.random.Generator) -> Sample:
    """A draft on this slice: its prompts are drawn from the masks, in the order of its entities."""
    sample = Sample(
        draft.perspective,
        draft.question,
        f"{draft.answer} {draft.explanation}".strip(),
        list(draft.entities),
        template=f"{draft.writer}/{'+'.join(draft.aspects)}",
    )
    if draft.clue:
        for name in draft.entities:
            add_prompt(sample, masks, name, draft.clue, rng)
    return sample
