"""What `Mimo` gives: of teacher-forced questions, of questions that it answers, and of prompts without words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from .phrase_alignment import Alignment


@dataclass
class Prediction:
    """Teacher-forced outputs, for the losses.

    Attributes:
        text_logits: [L, V] at the L positions that have a label, in the order of the batch.
        mask_logits: [M, g, g] for the M `<SEG>` of the batch in order, four times as fine as `ImageFeatures.feature_map`;
            scores: [M], their predicted IoU.
        alignment: of `<SEG>` states and prompt tokens with the phrases they stand for.
        presence_logits: [Q, I, 3] of the words of the questions, where the aligner classifies them.
        naming: how far the projected `<SEG>` states are from the names that were meant (`RegionNames.distance`), where the
            model has known names.
    """

    text_logits: Tensor
    mask_logits: Tensor
    scores: Tensor
    alignment: Alignment | None = None
    presence_logits: Tensor | None = None
    naming: Tensor | None = None


@dataclass
class Answers:
    """What was generated for Q questions.

    Attributes:
        ids, probabilities: [Q, L], tokens and the probability of each.
        mask_logits: [M, g, g], scores: [M], one for each `<SEG>` at `places` [M, 2] (question, position in `ids`).
        conditions: [M, D], what each mask was decoded by, as `Mimo.decode` takes it.
    """

    ids: Tensor
    probabilities: Tensor
    mask_logits: Tensor
    scores: Tensor
    places: Tensor
    conditions: Tensor


class Prompted(NamedTuple):
    """The images of Q questions with the prompts of each.

    Attributes:
        prompts: [Q, P, D], as tokens for the mask decoder; seen: [Q, P, D], with what lies under them, for the aligner.
        maps: [Q, 5, S / 2, S / 2], the prompts as maps for the fine branch, where there is one.
        names: [Q, P], the number of the name of what each shows, where the LLM is told names; -1 at padding.
        presence: [Q, I], of the words of the questions, where regions tell (`data.conversation.PRESENCE`).
        context, feature_map: [Q, D, h, w], of `ImageFeatures` with the prompts drawn in; one tensor where one encoder serves
            both, else each of its own size.
    """

    prompts: Tensor
    seen: Tensor
    context: Tensor
    feature_map: Tensor
    maps: Tensor | None = None
    names: Tensor | None = None
    presence: Tensor | None = None


class Pointed(NamedTuple):
    """An outline of what prompts show.

    Attributes:
        name: what it is called, `data.names.REGION` where no name is likely enough; probability: of the name, 1 of `REGION`.
        logits, iou: mask logits [g, g] and predicted IoU; conditions: [C, D], of whose outlines they are the mean.
    """

    name: str
    probability: float
    logits: Tensor
    iou: float
    conditions: Tensor
