"""A built data set as training items: one image with some of the questions about it.

Questions about one image share its features, so the costly encoder runs once for all of them.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset as Rows
from datasets import Image
from monai.data import CacheDataset
from monai.transforms import Compose, Randomizable, Transform
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..mimoseg.encoding import decode_rle
from ..mimoseg.questions.templates import OF_PLACE_OR_SIZE
from ..transforms.augment import MIRRORS, RandMove, rand_color, rand_intensity
from ..transforms.prompts import inside, sample_box, sample_point
from ..transforms.resize import SquareResize
from .conversation import Conversation, EncodedQuestion, QuestionBatch, collate_questions
from .feature_cache import EncoderMaps, FeatureCache, image_key
from .order import SET, Draw, TrainingOrder
from .other_questions import OtherQuestions
from .prompt_maps import BOX_TOP_LEFT
from .tokenizer import SEG


class Moves(NamedTuple):
    """Which changes of an image leave an answer true: mirrored left to right, up to down; shifted, turned and scaled a little."""

    left_right: bool
    up_down: bool
    affine: bool = True


@dataclass
class Item:
    """One image [3, S, S] in 0..1 or what the encoders made of it, its distinct masks bool [K, S, S], and questions about it.

    `entities[q]` are the masks of question q's answer in order; `rows[q]` is its row in the built set; `moves[q]` how the
    image may be moved without making its answer wrong.
    """

    image: Tensor | EncoderMaps
    masks: Tensor
    questions: list[EncodedQuestion]
    entities: list[list[int]]
    rows: list[int]
    moves: list[Moves]


@dataclass
class Batch:
    """B images [B, 3, S, S] or what the encoders made of them, Q questions about them, and the masks bool [M, S, S] of all
    `<SEG>` in order. One that is not `counted` only keeps step with other processes (`order.Share`)."""

    images: Tensor | EncoderMaps
    questions: QuestionBatch
    masks: Tensor
    rows: list[int]
    counted: bool = True


class LoadItem(Transform):
    """Row numbers of one image -> `Item`: decode image and masks, bring both to the model's square, encode the text. With
    `features` the image is not decoded, and its maps are read instead."""

    def __init__(
        self,
        rows: Rows,
        conversation: Conversation,
        image_size: int,
        *,
        with_answers: bool,
        sentences: int = 0,
        features: FeatureCache | None = None,
    ) -> None:
        self.rows = rows if features is None else rows.cast_column("image", Image(decode=False))
        self.conversation, self.image_size = conversation, image_size
        self.with_answers, self.sentences, self.features = with_answers, sentences, features

    def __call__(self, indices: Sequence[int]) -> Item:
        rows = [self.rows[i] for i in indices]
        image: Tensor | EncoderMaps
        if self.features is None:
            pixels = np.asarray(rows[0]["image"].convert("RGB"))
            shape = pixels.shape[:2]
            resize = SquareResize(*shape, self.image_size)
            image = resize.image(pixels)
        else:
            shape = tuple(rows[0]["size"])
            resize = SquareResize(*shape, self.image_size)
            image = self.features[image_key(rows[0]["image"]["bytes"])]
        masks: dict[str, dict] = {}
        questions, entities = [], []
        present = {entity["phrase"] for row in rows for entity in row["entities"]}
        for row in rows:
            answer = first_sentences(row["answer"], self.sentences) if self.with_answers else None
            prompts = row["points"], row["boxes"]
            named = named_in(present, row["absent"])
            questions.append(self.conversation.encode(row["question"], resize, *prompts, answer, named))
            for entity in row["entities"]:
                masks.setdefault(entity["mask"]["counts"], entity["mask"])
            entities.append([list(masks).index(e["mask"]["counts"]) for e in row["entities"]])
        decoded = [decode_rle(mask) for mask in masks.values()]
        stack = np.stack(decoded) if decoded else np.zeros((0, *shape), dtype=bool)
        return Item(image, resize.masks(stack), questions, entities, list(indices), [moves_of(row) for row in rows])


def named_in(phrases: Iterable[str], absent: Iterable[str]) -> dict[str, bool]:
    """The entities that a question may name, and whether each is there."""
    return {**dict.fromkeys(phrases, True), **dict.fromkeys(absent, False)}


def first_sentences(answer: str, count: int) -> str:
    """The first `count` sentences of an answer, and further ones up to its last mask; all of it for 0."""
    sentences = re.split(r"(?<=[.!?]) (?=[A-Z])", answer)
    with_masks = [n for n, sentence in enumerate(sentences, start=1) if SEG in sentence]
    return " ".join(sentences[: max([count, *with_masks])] if count else sentences)


def moves_of(row: Mapping[str, Any]) -> Moves:
    """How the image of a row may be moved: mirrored as its modality allows, and not if left or right is said of it; not at all
    if its answer is a number of parts, a place or a size."""
    kind = (row.get("value") or {}).get("kind", "")  # sets that were built before have none
    if kind in OF_PLACE_OR_SIZE:
        return Moves(False, False, False)
    sided = re.search(r"\b(left|right)\b", f"{row['question']} {row['answer']}", re.IGNORECASE)
    return Moves(*((False, False) if sided else MIRRORS.get(row.get("modality", ""), (False, False))))


def all_moves(moves: Iterable[Moves]) -> Moves:
    """Those that every one allows."""
    return Moves(*map(all, zip(*moves)))


class Augment(Randomizable, Transform):
    """Move the image and its masks, change its intensity, and point anew: a click or box is drawn from the moved mask,
    so a model never sees the same prompt twice.

    Args:
        image: false only points anew, and leaves the image as the encoders saw it.
        strong: change more, for long training.
    """

    def __init__(self, *, image: bool = True, strong: bool = False) -> None:
        self.image = image
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
        image, masks = item.image, item.masks
        if self.image:
            assert isinstance(image, Tensor)
            allowed = all_moves(item.moves)
            if allowed.affine:
                image, masks = self.move(image, masks, (allowed.left_right, allowed.up_down))
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


def collate(items: Sequence[Item], pad_id: int, *, generate: bool = False) -> Batch:
    """Batch items; `generate` leaves the answers out (see `collate_questions`)."""
    image_index = [b for b, item in enumerate(items) for _ in item.questions]
    questions = [q for item in items for q in item.questions]
    masks = [item.masks[entity] for item in items for entities in item.entities for entity in entities]
    images: Tensor | EncoderMaps
    if isinstance(items[0].image, EncoderMaps):
        images = EncoderMaps.stack([item.image for item in items])  # type: ignore[misc]
    else:
        images = torch.stack([item.image for item in items])  # type: ignore[misc]
    return Batch(
        images=images,
        questions=collate_questions(questions, image_index, pad_id, generate=generate),
        masks=torch.stack(masks) if masks else items[0].masks.new_zeros(0, *items[0].masks.shape[1:]),
        rows=[row for item in items for row in item.rows],
    )


def rows_by_image(rows: Rows) -> list[list[int]]:
    """Row numbers grouped by image, in the order of the first row of each; images of two sets are two."""
    groups: dict[tuple[str, str], list[int]] = {}
    several = SET in getattr(rows, "column_names", ())
    sets = rows[SET] if several else repeat("")
    for number, image in enumerate(zip(sets, rows["image_id"])):
        groups.setdefault(image, []).append(number)
    return list(groups.values())


class MimoSegDataset(CacheDataset):
    """Images of a built set with all their questions, in order.

    Args:
        rows: from `load_mimoseg`.
        conversation: how texts become tokens.
        image_size: S of the model.
        sentences: cut answers after so many (see `first_sentences`); 0 does not.
        with_answers: false for generation, where a question may then fill more of the context.
        cache: how many decoded images are kept in memory.
        augment: what `drawn` gives; see `Augment`.
        others: exchanges some questions that are drawn for others, of images that are not read from `features`.
        features: read what the encoders made of the images from here, instead of the images.
    """

    def __init__(
        self,
        rows: Rows,
        conversation: Conversation,
        image_size: int,
        *,
        sentences: int = 0,
        with_answers: bool = True,
        cache: int = 0,
        augment: Augment | None = None,
        others: OtherQuestions | None = None,
        features: FeatureCache | None = None,
    ) -> None:
        load = LoadItem(
            rows, conversation, image_size, with_answers=with_answers, sentences=sentences, features=features
        )
        super().__init__(
            rows_by_image(rows),
            Compose([load], map_items=False),
            cache_num=0 if features is not None else cache,
            num_workers=0,
            progress=False,
            copy_cache=False,
            runtime_cache=True,  # an image is decoded when it is first wanted
        )
        self.rows, self.augment, self.others = rows, augment, others

    def drawn(self, draw: Draw) -> Item:
        """An image with the questions that a `TrainingOrder` drew, changed at random."""
        item = self[draw.image]
        item = replace(
            item,
            questions=[item.questions[i] for i in draw.questions],
            entities=[item.entities[i] for i in draw.questions],
            rows=[item.rows[i] for i in draw.questions],
            moves=[item.moves[i] for i in draw.questions],
        )
        if self.augment is not None:
            self.augment.set_random_state(draw.seed)
            item = self.augment(item)
        return item if self.others is None else self._exchange(item, np.random.default_rng(draw.seed))

    def _exchange(self, item: Item, rng: np.random.Generator) -> Item:
        assert self.others is not None
        assert isinstance(item.image, Tensor)
        questions, entities, masks = [], [], item.masks
        for row, question, wanted in zip(item.rows, item.questions, item.entities):
            question, wanted, masks = self.others.exchange(row, question, wanted, item.image, masks, rng)
            questions.append(question)
            entities.append(wanted)
        return replace(item, questions=questions, entities=entities, masks=masks)


class Steps(Dataset):
    """Item n is what process `rank` of `processes` computes in step n of an order."""

    def __init__(self, dataset: MimoSegDataset, order: TrainingOrder, pad_id: int, rank: int, processes: int) -> None:
        self.dataset, self.order, self.pad_id = dataset, order, pad_id
        self.rank, self.processes = rank, processes

    def __getitem__(self, number: int) -> list[Batch]:
        share = self.order.share(number, self.rank, self.processes)
        batches = (collate([self.dataset.drawn(draw) for draw in draws], self.pad_id) for draws in share.batches)
        return [replace(batch, counted=counted) for batch, counted in zip(batches, share.counted)]

    def __len__(self) -> int:
        return self.order.steps_per_pass


class StepNumbers(Sampler):
    """0, 1, 2, ... without end, or from `start` when a run goes on there."""

    def __init__(self) -> None:
        self.start = 0

    def __iter__(self) -> Iterator[int]:
        number = self.start
        while True:
            yield number
            number += 1


class StepLoader(DataLoader):
    """Loads the steps of a run; as long as one pass of their order.

    Args:
        steps: what to load, item n in step n.
        workers: processes that load ahead.
    """

    def __init__(self, steps: Dataset, workers: int = 0) -> None:
        self.numbers = StepNumbers()
        super().__init__(
            steps,
            batch_size=None,
            sampler=self.numbers,
            num_workers=workers,
            collate_fn=as_it_is,
            worker_init_fn=ignore_sigterm,
            generator=torch.Generator(),  # of its own, for an iterator takes a number from it
        )

    def __len__(self) -> int:
        return len(self.dataset)

    def start_at(self, step: int) -> None:
        """The next iteration begins with this step."""
        self.numbers.start = step


def ignore_sigterm(_: int) -> None:
    """A cluster sends SIGTERM to workers too, and the run needs them until it has saved; they end with it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def as_it_is(batches: Any) -> Any:
    """What `Steps` gives is batches already."""
    return batches
