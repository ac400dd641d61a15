"""A built data set as training items: one image with some of the questions about it.

Questions about one image share its features, so the costly encoder runs once for all of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from datasets import Dataset as Rows
from monai.data import CacheDataset, DataLoader
from monai.transforms import Compose, Randomizable, Transform
from torch import Tensor
from torch.utils.data import WeightedRandomSampler

from ..mimoseg.rle import decode_rle
from ..transforms.augment import MIRRORS, RandMove, rand_color, rand_intensity
from ..transforms.prompts import sample_box, sample_point
from ..transforms.resize import SquareResize
from .collate import QuestionBatch, collate_questions
from .conversation import Conversation, EncodedQuestion
from .prompts import BOX_TOP_LEFT
from .tokenizer import SEG


@dataclass
class Item:
    """One image [3, S, S] in 0..1, its distinct masks bool [K, S, S], and questions about it.

    `entities[q]` are the masks of question q's answer in order; `rows[q]` is its row in the built set, and `perspectives[q]`
    its kind. `mirror` says whether the image may be mirrored left to right, and up to down.
    """

    image: Tensor
    masks: Tensor
    questions: list[EncodedQuestion]
    entities: list[list[int]]
    rows: list[int]
    perspectives: list[int]
    mirror: tuple[bool, bool] = (False, False)


@dataclass
class Batch:
    """B images [B, 3, S, S], Q questions about them, and the masks bool [M, S, S] of all `<SEG>` in order."""

    images: Tensor
    questions: QuestionBatch
    masks: Tensor
    rows: list[int]


class LoadItem(Transform):
    """Row numbers of one image -> `Item`: decode image and masks, bring both to the model's square, encode the text."""

    def __init__(
        self, rows: Rows, conversation: Conversation, image_size: int, *, with_answers: bool, sentences: int = 0
    ) -> None:
        self.rows, self.conversation, self.image_size = rows, conversation, image_size
        self.with_answers, self.sentences = with_answers, sentences

    def __call__(self, indices: Sequence[int]) -> Item:
        rows = [self.rows[i] for i in indices]
        pixels = np.asarray(rows[0]["image"].convert("RGB"))
        resize = SquareResize(*pixels.shape[:2], self.image_size)
        masks: dict[str, dict] = {}
        questions, entities = [], []
        for row in rows:
            answer = first_sentences(row["answer"], self.sentences) if self.with_answers else None
            prompts = row["points"], row["boxes"]
            questions.append(self.conversation.encode(row["question"], resize, *prompts, answer, named_in(row)))
            for entity in row["entities"]:
                masks.setdefault(entity["mask"]["counts"], entity["mask"])
            entities.append([list(masks).index(e["mask"]["counts"]) for e in row["entities"]])
        decoded = [decode_rle(mask) for mask in masks.values()]
        stack = np.stack(decoded) if decoded else np.zeros((0, *pixels.shape[:2]), dtype=bool)
        return Item(
            resize.image(pixels),
            resize.masks(stack),
            questions,
            entities,
            list(indices),
            [row["perspective"] for row in rows],
            mirror_of(rows),
        )


def first_sentences(answer: str, count: int) -> str:
    """The first `count` sentences of an answer, and further ones up to its last mask; all of it for 0."""
    sentences = re.split(r"(?<=[.!?]) (?=[A-Z])", answer)
    with_masks = [n for n, sentence in enumerate(sentences, start=1) if SEG in sentence]
    return " ".join(sentences[: max([count, *with_masks])] if count else sentences)


def mirror_of(rows: Sequence[Mapping[str, Any]]) -> tuple[bool, bool]:
    """How the image of `rows` may be mirrored: as its modality allows, and not if left or right is said of it."""
    sided = any(re.search(r"\b(left|right)\b", f"{row['question']} {row['answer']}", re.IGNORECASE) for row in rows)
    return (False, False) if sided else MIRRORS.get(rows[0].get("modality", ""), (False, False))


def named_in(row: Mapping[str, Any]) -> dict[str, bool]:
    """The entities that a row's question may name, and whether each is there."""
    return {**{e["phrase"]: True for e in row["entities"]}, **dict.fromkeys(row["absent"], False)}


class PickQuestions(Randomizable, Transform):
    """Keep `count` random questions of an item.

    Args:
        shares: how likely a question of each perspective is drawn relative to the others (1 if not said).
    """

    def __init__(self, count: int, shares: Mapping[int, float] | None = None) -> None:
        self.count, self.shares = count, shares or {}

    def __call__(self, item: Item) -> Item:
        weights = np.array([self.shares.get(perspective, 1.0) for perspective in item.perspectives])
        count = min(self.count, np.count_nonzero(weights))
        picked = self.R.choice(len(weights), size=count, replace=False, p=weights / weights.sum())
        return replace(
            item,
            questions=[item.questions[i] for i in picked],
            entities=[item.entities[i] for i in picked],
            rows=[item.rows[i] for i in picked],
            perspectives=[item.perspectives[i] for i in picked],
        )


class Augment(Randomizable, Transform):
    """Move the image and its masks, change its intensity, and point anew: a click or box is drawn from the moved mask,
    so a model never sees the same prompt twice. `strong` changes more, for long training."""

    def __init__(self, strong: bool = False) -> None:
        self.move = RandMove(prob=0.9, degrees=20, shift=0.1, scale=0.25, bend=0.02) if strong else RandMove()
        self.intensity = rand_intensity(strong)
        self.color = rand_color() if strong else None

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> Augment:
        super().set_random_state(seed, state)
        self.move.set_random_state(state=self.R)
        self.intensity.set_random_state(state=self.R)
        if self.color is not None:
            self.color.set_random_state(state=self.R)
        return self

    def __call__(self, item: Item) -> Item:
        image, masks = self.move(item.image, item.masks, item.mirror)
        if self.color is not None and not torch.equal(image[0], image[1]):
            image = self.color(image)
        image = torch.as_tensor(np.asarray(self.intensity(image))).clamp(0, 1)
        questions = [self._point_anew(q, e, masks.numpy()) for q, e in zip(item.questions, item.entities)]
        return replace(item, image=image, masks=masks, questions=questions)

    def _point_anew(self, question: EncodedQuestion, entities: list[int], masks: np.ndarray) -> EncodedQuestion:
        firsts = np.flatnonzero(question.labels <= BOX_TOP_LEFT)  # the first token of each prompt
        if len(firsts) == 0 or len(firsts) != len(entities):
            return question
        coordinates = question.coordinates.copy()
        for first, entity in zip(firsts, entities):
            mask = masks[entity]
            if question.labels[first] == BOX_TOP_LEFT:
                x0, y0, x1, y1 = sample_box(mask, self.R)
                coordinates[first : first + 2] = (x0, y0), (x1, y1)
            else:
                coordinates[first] = np.add(sample_point(mask, self.R, inside(masks, entity)), 0.5)
        return replace(question, coordinates=coordinates)


def inside(masks: np.ndarray, entity: int) -> np.ndarray:
    """The union [S, S] of masks that lie mostly inside mask `entity` and are smaller: a click there means them."""
    mask = masks[entity]
    areas = masks.sum(axis=(1, 2))
    shared = (masks & mask).sum(axis=(1, 2))
    smaller = (areas < mask.sum()) & (shared > areas / 2)
    return masks[smaller].any(axis=0)


def collate(items: Sequence[Item], pad_id: int, *, generate: bool = False) -> Batch:
    """Batch items; `generate` leaves the answers out (see `collate_questions`)."""
    image_index = [b for b, item in enumerate(items) for _ in item.questions]
    questions = [q for item in items for q in item.questions]
    masks = [item.masks[entity] for item in items for entities in item.entities for entity in entities]
    return Batch(
        images=torch.stack([item.image for item in items]),
        questions=collate_questions(questions, image_index, pad_id, generate=generate),
        masks=torch.stack(masks) if masks else torch.zeros(0, *items[0].image.shape[1:], dtype=torch.bool),
        rows=[row for item in items for row in item.rows],
    )


def rows_by_image(rows: Rows) -> list[list[int]]:
    """Row numbers grouped by image, in the order of the first row of each."""
    groups: dict[str, list[int]] = {}
    for number, image_id in enumerate(rows["image_id"]):
        groups.setdefault(image_id, []).append(number)
    return list(groups.values())


class MimoSegDataset(CacheDataset):
    """Images of a built set with their questions.

    Args:
        rows: from `load_mimoseg`.
        conversation: how texts become tokens.
        image_size: S of the model.
        questions_per_image: how many random ones an item holds; none: all of them, in order.
        shares: of the perspectives, see `PickQuestions`.
        augment: see `Augment`; "strong" for its strong kind.
        sentences: cut answers after so many (see `first_sentences`); 0 does not.
        with_answers: false for generation, where a question may then fill more of the context.
        cache: keep decoded images in memory (for sets of up to some thousand images).
    """

    def __init__(
        self,
        rows: Rows,
        conversation: Conversation,
        image_size: int,
        *,
        questions_per_image: int | None = None,
        shares: Mapping[int, float] | None = None,
        augment: bool | Literal["strong"] = False,
        sentences: int = 0,
        with_answers: bool = True,
        cache: bool = True,
    ) -> None:
        steps: list[Transform] = [
            LoadItem(rows, conversation, image_size, with_answers=with_answers, sentences=sentences)
        ]
        if questions_per_image is not None:
            steps.append(PickQuestions(questions_per_image, shares))
        if augment:
            steps.append(Augment(augment == "strong"))
        groups = rows_by_image(rows)
        super().__init__(
            groups,
            Compose(steps, map_items=False),
            cache_rate=1.0 if cache else 0.0,
            num_workers=0,
            progress=False,
            copy_cache=False,
        )
        self.rows = rows


def make_loader(
    dataset: MimoSegDataset,
    pad_id: int,
    images_per_batch: int,
    *,
    balanced: bool | Mapping[str, float] = False,
    generate: bool = False,
    workers: int = 0,
) -> DataLoader:
    """A loader of `Batch`es, in the order of the set or, `balanced`, at random and with each modality of each source as
    often as any other, or as often as a mapping of sources says (1 if not said)."""

    def collate_items(items: Sequence[Item]) -> Batch:
        return collate(items, pad_id, generate=generate)

    return DataLoader(
        dataset,
        batch_size=images_per_batch,
        sampler=None if balanced is False else balanced_sampler(dataset.rows, {} if balanced is True else balanced),
        num_workers=workers,
        collate_fn=collate_items,
    )


def balanced_sampler(rows: Rows, shares: Mapping[str, float] | None = None) -> WeightedRandomSampler:
    """Draws images of a set, with replacement, as many as there are; `shares` are relative weights of sources."""
    firsts = [numbers[0] for numbers in rows_by_image(rows)]
    sources, modalities = rows["source"], rows["modality"]
    kinds = [(sources[n], modalities[n]) for n in firsts]
    counts = Counter(kinds)
    return WeightedRandomSampler([(shares or {}).get(kind[0], 1.0) / counts[kind] for kind in kinds], len(kinds))
