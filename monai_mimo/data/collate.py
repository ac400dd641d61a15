"""From questions about several images to the padded tensors of one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .conversation import EncodedQuestion
from .prompt_maps import CHANNELS, PADDING, question_maps

IGNORE = -100  # torch's label of positions without a target


@dataclass
class QuestionBatch:
    """Q questions about B images.

    Attributes:
        input_ids, attention_mask: [Q, T], and labels: [Q, T], `IGNORE` where nothing is to be predicted.
        instruction_ids, instruction_padding: [Q, I], the words of the questions; is_instruction: [Q, T], where in
            `input_ids` they stand; presence: [Q, I], see `conversation.PRESENCE`, `IGNORE` at padding.
        coordinates: [Q, P, 2] and prompt_labels: [Q, P], `PADDING` where there is no prompt.
        image_index: [Q], which image each question is about.
        prompt_maps: [K, 5, S / 2, S / 2], of the objects that are shown by prompts (`data.prompt_maps`); none where the model
            reads no maps. map_question: [K], whose they are; prompt_object: [Q, P], which of the K each prompt shows, -1 at
            padding.
        shown_names: [K], the number of the name of what each of the K shows, -1 where the model has to tell.
        seg_names: [M], of each `<SEG>` of the answers the number of its name, -1 where it is not a known one.
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    instruction_ids: Tensor
    instruction_padding: Tensor
    is_instruction: Tensor
    presence: Tensor
    coordinates: Tensor
    prompt_labels: Tensor
    image_index: Tensor
    prompt_maps: Tensor
    map_question: Tensor
    prompt_object: Tensor
    shown_names: Tensor
    seg_names: Tensor

    def to(self, device: torch.device | str, non_blocking: bool = False) -> QuestionBatch:
        """A copy with all tensors on `device`."""
        moved = {f.name: getattr(self, f.name).to(device, non_blocking=non_blocking) for f in fields(self)}
        return replace(self, **moved)

    def union_of_maps(self, side: int) -> Tensor:
        """The maps of all objects of each question together, [Q, 5, side, side]; zero without prompts."""
        maps = self.prompt_maps
        together = maps.new_zeros(len(self.image_index), CHANNELS, side, side)
        if len(maps):
            together.index_add_(0, self.map_question, maps)
        return together.clamp(max=1)  # also the mask before, which one object has at most


def collate_questions(
    questions: Sequence[EncodedQuestion], image_index: Sequence[int], pad_id: int, *, generate: bool = False
) -> QuestionBatch:
    """Pad questions to one batch: with their answers at the right for training, or without them at the left so that
    generation can go on from the last column of every row."""
    side = "left" if generate else "right"
    answers = [[] if generate else q.answer_ids for q in questions]
    rows = [torch.tensor(q.prompt_ids + a) for q, a in zip(questions, answers)]
    targets = [torch.tensor([IGNORE] * len(q.prompt_ids) + a) for q, a in zip(questions, answers)]
    words = [torch.tensor(q.instruction_ids, dtype=torch.long) for q in questions]

    def pad(sequences: list[Tensor], value: int, padding_side: str = "right") -> Tensor:
        return pad_sequence(sequences, batch_first=True, padding_value=value, padding_side=padding_side)

    maps = [
        question_maps(q.coordinates, q.labels, q.objects, q.side, q.scribbles, q.logits) for q in questions if q.side
    ]
    counts = [len(m) for m in maps] if maps else [0] * len(questions)
    shown = [[-1] * n if generate or len(q.shown) != n else q.shown for q, n in zip(questions, counts)]
    firsts = np.cumsum([0, *counts[:-1]])
    most_words = max(len(w) for w in words)
    return QuestionBatch(
        input_ids=pad(rows, pad_id, side),
        attention_mask=pad([torch.ones_like(r) for r in rows], 0, side),
        labels=pad(targets, IGNORE, side),
        instruction_ids=pad(words, pad_id),
        instruction_padding=torch.arange(most_words) >= torch.tensor([[len(w)] for w in words]),
        is_instruction=pad(
            [torch.tensor(q.is_instruction + [False] * len(a)) for q, a in zip(questions, answers)], 0, side
        ),
        presence=pad([torch.tensor(q.presence, dtype=torch.long) for q in questions], IGNORE),
        coordinates=pad([torch.from_numpy(np.ascontiguousarray(q.coordinates)) for q in questions], 0),
        prompt_labels=pad([torch.from_numpy(q.labels) for q in questions], PADDING),
        image_index=torch.tensor(image_index),
        prompt_maps=torch.from_numpy(np.concatenate(maps)) if maps else torch.zeros(0, CHANNELS, 1, 1),
        map_question=torch.arange(len(questions)).repeat_interleave(torch.tensor(counts)),
        prompt_object=pad([torch.from_numpy(q.objects + first) for q, first in zip(questions, firsts)], -1),
        shown_names=torch.tensor([number for numbers in shown for number in numbers], dtype=torch.long),
        seg_names=torch.tensor([n for q in questions for n in q.seg_names], dtype=torch.long),
    )
