"""A question with its prompts, and its answer, as token ids: `<s> USER: <image>*N question ASSISTANT: answer </s>`.

Each point becomes one `<point>` token, each box two `<box>` tokens (its corners), at the place where the question refers
to it; prompts without such a marker follow the question. Many questions make one padded batch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from ..errors import InputError
from ..transforms.resize import SquareResize
from .names import REGION
from .prompt_maps import BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, CHANNELS, PADDING, question_maps
from .tokenizer import BOX, IMAGE, PHRASE_END, PHRASE_START, POINT, SEG

Scribbles = tuple[np.ndarray | None, np.ndarray | None]  # positive and negative, bool
Point = tuple[float, float, int]  # x, y in pixels, and 1 for positive or 0 for negative

# What a word of a question is: part of no name of an entity, or of the name of one that is there, or is not there.
UNNAMED, PRESENT, ABSENT = PRESENCE = (0, 1, 2)


@dataclass
class EncodedQuestion:
    """One question, ready to be batched.

    Attributes:
        prompt_ids: what the LLM reads; answer_ids: what it shall write, empty when unknown.
        instruction_ids: the words of the question alone, for the aligner; is_instruction: where they stand in `prompt_ids`.
        presence: of each of those words, see `PRESENCE`; all `UNNAMED` when unknown.
        asked: of each of those words, the number of the known name that it is part of, -1 for others.
        coordinates: [P, 2] continuous (x, y) in the model's input, and labels: [P] (see `data.prompt_maps`),
            in the order of the placeholders in `prompt_ids`.
        objects: [P], which object each prompt shows: each marker of the question one of its own, but all prompts show one where
            the question has one marker or none.
        seg_names: of each `<SEG>` of the answer, the number of its phrase among the known names, -1 for others.
        shown: of each object, the number of its name where the answer tells it, else none.
        side: S of the model where it reads prompts as maps, else 0.
        scribbles, logits: of the first object, see `prompt_maps.RegionPrompts`.
    """

    prompt_ids: list[int]
    instruction_ids: list[int]
    coordinates: np.ndarray
    labels: np.ndarray
    is_instruction: list[bool]
    presence: list[int]
    asked: list[int]
    answer_ids: list[int] = field(default_factory=list)
    objects: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    seg_names: list[int] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)
    side: int = 0
    scribbles: Scribbles = (None, None)
    logits: np.ndarray | None = None


class Conversation:
    """Turns questions and answers into token ids and back.

    Args:
        tokenizer: with MIMO's special tokens.
        image_tokens: N, how many tokens the aligner makes of an image.
        context: the longest sequence that the LLM takes, in tokens.
        names: the known names of regions, in order. side: see `EncodedQuestion`.
        regions_tell: whether what looks like a name tells that it is there: presence is then known of these names alone.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        image_tokens: int,
        context: int,
        names: Sequence[str] = (),
        side: int = 0,
        *,
        regions_tell: bool = False,
    ) -> None:
        self.tokenizer, self.image_tokens, self.context = tokenizer, image_tokens, context
        self.names, self.side = {name: number for number, name in enumerate(names)}, side
        called = sorted((re.escape(name) for name in names if name != REGION), key=len, reverse=True)
        self._known = re.compile(rf"\b(?:{'|'.join(called)})\b") if called and regions_tell else None
        self._tags = set(tokenizer.convert_tokens_to_ids([PHRASE_START, PHRASE_END, SEG]))

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def encode(
        self,
        question: str,
        resize: SquareResize,
        points: Sequence[Sequence[float]] = (),
        boxes: Sequence[Sequence[float]] = (),
        answer: str | None = None,
        named: Mapping[str, bool] | None = None,
        scribbles: Scribbles = (None, None),
        logits: np.ndarray | None = None,
    ) -> EncodedQuestion:
        """Encode one question about an image that `resize` maps to the model's input.

        Args:
            points: (x, y, label) in pixels, label 1 for inside and 0 for outside.
            boxes: (x0, y0, x1, y1) in pixels, inclusive-exclusive.
            named: the entities that the question names, and whether each is there, when that is known.
            scribbles: positive and negative, bool [h, w] in the image; logits: [S / 2, S / 2], of the mask before.

        Raises:
            InputError: the question refers to more points or boxes than there are, or is longer than the context. (Of a
                long answer the explanation is cut.)
        """
        lines = tuple(None if line is None else resize.line(line) for line in scribbles)
        points = [*points, *_stand_ins(lines, logits, resize)]
        several = question.count(POINT) + question.count(BOX) > 1
        text = place_markers(question, len(points), len(boxes))
        point_coordinates = resize.points(np.array([p[:2] for p in points], dtype=np.float32))
        box_coordinates = resize.boxes(np.array(boxes, dtype=np.float32))
        next_point = iter([(xy[None], [int(p[2])]) for xy, p in zip(point_coordinates, points)])
        next_box = iter([(corners, [BOX_TOP_LEFT, BOX_BOTTOM_RIGHT]) for corners in box_coordinates])

        question_ids: list[int] = []
        is_word: list[bool] = []
        presence: list[int] = []
        asked: list[int] = []
        coordinates: list[np.ndarray] = [np.zeros((0, 2), dtype=np.float32)]
        labels: list[int] = []
        objects: list[int] = []
        for part in re.split(f"({POINT}|{BOX})", text):
            if part in (POINT, BOX):
                xy, kinds = next(next_point if part == POINT else next_box)
                coordinates.append(xy)
                labels += kinds
                objects += [max(objects, default=-1) + 1 if several else 0] * len(kinds)
                question_ids += self._ids(part) * len(kinds)
                is_word += [False] * len(kinds)
            elif part.strip():
                words, present, known = self._words(part.strip(), named or {})
                question_ids += words
                is_word += [True] * len(words)
                presence += present
                asked += known
        begin = [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]  # Qwen has none
        before = [*begin, *self._ids("USER:"), *self._ids(IMAGE) * self.image_tokens]
        after = self._ids("ASSISTANT:")
        prompt_ids = [*before, *question_ids, *after]
        answer_ids = [] if answer is None else [*self._ids(answer), self.tokenizer.eos_token_id]
        longest = self.context if answer is not None else self.context - 32  # leave room to answer
        answer_ids = self._cut(answer_ids, longest - len(prompt_ids))
        if len(prompt_ids) + len(answer_ids) > longest:
            found = f"{len(prompt_ids) + len(answer_ids)} tokens"
            raise InputError("question", found, f"at most {longest} with this model")
        named_segs = [
            self.names.get(name, -1) for name in re.findall(f"{PHRASE_START} (.*?) {PHRASE_END} {SEG}", answer or "")
        ]
        shown = named_segs if len(named_segs) == max(objects, default=-1) + 1 else []
        if self._known is not None:
            presence = [UNNAMED if name < 0 else kind for kind, name in zip(presence, asked)]
            if shown:  # what a prompt shows is there; another name is not what is meant, even if it is in the image
                presence = [UNNAMED if n < 0 else PRESENT if n in shown else ABSENT for n in asked]
        return EncodedQuestion(
            prompt_ids,
            [token for token, word in zip(question_ids, is_word) if word],
            np.concatenate(coordinates),
            np.array(labels, dtype=np.int64),
            [False] * len(before) + is_word + [False] * len(after),
            presence,
            asked,
            answer_ids,
            np.array(objects, dtype=np.int64),
            named_segs,
            shown,
            self.side,
            (lines[0], lines[1]),
            logits,
        )

    def _cut(self, answer_ids: list[int], length: int) -> list[int]:
        """The first tokens of an answer that is too long, as far as what is cut off names nothing: an explanation may end
        early, without an end token, but no phrase or mask may be lost."""
        kept, lost = answer_ids[: max(0, length)], answer_ids[max(0, length) : -1]
        return answer_ids if self._tags & set(lost) else kept

    def _words(self, text: str, named: Mapping[str, bool]) -> tuple[list[int], list[int], list[int]]:
        """Tokens of a text without markers, the presence of each, and the number of the known name that it is part of; a longer
        name goes before one inside it."""
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        presence, asked = [UNNAMED] * len(encoded["input_ids"]), [-1] * len(encoded["input_ids"])

        def mark(kinds: list[int], mention: re.Match, kind: int) -> None:
            for token, (start, end) in enumerate(encoded["offset_mapping"]):
                if start < mention.end() and end > mention.start():
                    kinds[token] = kind

        for name in sorted(named, key=len):
            for mention in re.finditer(rf"\b{re.escape(name)}\b", text, re.IGNORECASE):
                mark(presence, mention, PRESENT if named[name] else ABSENT)
        for mention in self._known.finditer(text) if self._known else ():
            mark(asked, mention, self.names[mention[0]])
        return encoded["input_ids"], presence, asked


def _stand_ins(lines: tuple[np.ndarray | None, ...], logits: np.ndarray | None, resize: SquareResize) -> list[Point]:
    """A point on each scribble, and in the mask before, for what reads prompts as tokens: pixels of the image."""
    masks = [(line, label) for line, label in zip(lines, (1, 0)) if line is not None and line.any()]
    if logits is not None and (logits > 0).any() and not masks:
        masks.append((np.kron(logits > 0, np.ones((2, 2), dtype=bool)), 1))
    points = []
    for mask, label in masks:
        rows, columns = np.nonzero(mask)
        x, y = (np.array([columns[len(columns) // 2], rows[len(rows) // 2]]) + 0.5) / resize.scale - 0.5
        points.append((float(x), float(y), label))
    return points


def place_markers(question: str, points: int, boxes: int) -> str:
    """Append `<point>` and `<box>` for each prompt that the question does not refer to.

    Raises:
        InputError: the question refers to more prompts than there are.
    """
    for marker, count in ((POINT, points), (BOX, boxes)):
        named = question.count(marker)
        if named > count:
            raise InputError("question", f"{named} {marker} markers", f"at most the {count} given")
        question += f" {marker}" * (count - named)
    return question


IGNORE = -100  # torch's label of positions without a target


@dataclass
class QuestionBatch:
    """Q questions about B images.

    Attributes:
        input_ids, attention_mask: [Q, T], and labels: [Q, T], `IGNORE` where nothing is to be predicted.
        instruction_ids, instruction_padding: [Q, I], the words of the questions; is_instruction: [Q, T], where in
            `input_ids` they stand; presence: [Q, I], see `conversation.PRESENCE`, `IGNORE` at padding; asked: [Q, I], the numbers
            of the known names that they are part of, -1 for other words.
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
    asked: Tensor
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
        asked=pad([torch.tensor(q.asked, dtype=torch.long) for q in questions], -1),
        coordinates=pad([torch.from_numpy(np.ascontiguousarray(q.coordinates)) for q in questions], 0),
        prompt_labels=pad([torch.from_numpy(q.labels) for q in questions], PADDING),
        image_index=torch.tensor(image_index),
        prompt_maps=torch.from_numpy(np.concatenate(maps)) if maps else torch.zeros(0, CHANNELS, 1, 1),
        map_question=torch.arange(len(questions)).repeat_interleave(torch.tensor(counts)),
        prompt_object=pad([torch.from_numpy(q.objects + first) for q, first in zip(questions, firsts)], -1),
        shown_names=torch.tensor([number for numbers in shown for number in numbers], dtype=torch.long),
        seg_names=torch.tensor([n for q in questions for n in q.seg_names], dtype=torch.long),
    )
