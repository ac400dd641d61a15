"""A built data set as training items: one image with some of the questions about it.

Questions about one image share its features, so the costly encoder runs once for all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any

import numpy as np
import torch
from datasets import Dataset as Rows
from datasets import Image
from monai.data import CacheDataset
from monai.transforms import Compose, Randomizable, Transform
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import InputError
from ..mimoseg.encoding import decode_rle
from ..transforms.augment import RandMove, rand_color, rand_intensity
from ..transforms.prompts import inside, sample_box, sample_point
from ..transforms.resize import SquareResize
from .conversation import Conversation, EncodedQuestion, QuestionBatch, collate_questions
from .feature_cache import EncoderMaps, FeatureCache
from .moves import Moves, all_moves, moves_of
from .order import SET, Draw, TrainingOrder
from .other_questions import OtherQuestions
from .prompt_maps import BOX_TOP_LEFT
from .tokenizer import SEG
from .variants import Variant, variants_of


@dataclass
class Item:
    """One image [3, S, S] in 0..1 or what the encoders made of it, its distinct masks bool [K, S, S], and questions about it.

    `entities[q]` are the masks of question q's answer in order; `rows[q]` is its row in the built set; `moves[q]` how the
    image may be moved without making its answer wrong. `variants` are those that a feature cache has of the image.
    """

    image: Tensor | EncoderMaps
    masks: Tensor
    questions: list[EncodedQuestion]
    entities: list[list[int]]
    rows: list[int]
    moves: list[Moves]
    variants: list[Variant] = field(default_factory=list)


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
    so many `variants` in a feature cache the image is not decoded; `MimoSegDataset.drawn` reads the maps of one."""

    def __init__(
        self,
        rows: Rows,
        conversation: Conversation,
        image_size: int,
        *,
        with_answers: bool,
        sentences: int = 0,
        variants: int = 0,
        strong: bool = False,
    ) -> None:
        self.rows = rows.cast_column("image", Image(decode=False)) if variants else rows
        self.conversation, self.image_size = conversation, image_size
        self.with_answers, self.sentences = with_answers, sentences
        self.variants, self.strong = variants, strong

    def __call__(self, indices: Sequence[int]) -> Item:
        rows = [self.rows[i] for i in indices]
        image: Tensor | EncoderMaps
        if not self.variants:
            pixels = np.asarray(rows[0]["image"].convert("RGB"))
            shape = pixels.shape[:2]
            resize = SquareResize(*shape, self.image_size)
            image = resize.image(pixels)
        else:
            shape = tuple(rows[0]["size"])
            resize = SquareResize(*shape, self.image_size)
            image = EncoderMaps([], [])
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
        moves, variants = (
            [moves_of(row) for row in rows],
            variants_of(rows, self.variants, self.strong) if self.variants else [],
        )
        return Item(image, resize.masks(stack), questions, entities, list(indices), moves, variants)


def named_in(phrases: Iterable[str], absent: Iterable[str]) -> dict[str, bool]:
    """The entities that a question may name, and whether each is there."""
    return {**dict.fromkeys(phrases, True), **dict.fromkeys(absent, False)}


def first_sentences(answer: str, count: int) -> str:
    """The first `count` sentences of an answer, and further ones up to its last mask; all of it for 0."""
    sentences = re.split(r"(?<=[.!?]) (?=[A-Z])", answer)
    with_masks = [n for n, sentence in enumerate(sentences, start=1) if SEG in sentence]
    return " ".join(sentences[: max([count, *with_masks])] if count else sentences)


class Augment(Randomizable, Transform):
    """Move the image and its masks, change its intensity, and point anew: a click or box is drawn from the moved mask,
    so a model never sees the same prompt twice.

    Args:
        image: false only points anew, and leaves the image as the encoders saw it.
        strong: change more, for long training.
        transforms: dictionary transforms of the user's own, which get `image` [3, S, S] in 0..1 and `masks` float [K, S, S] after
            that and give both; what moves the image must move both.
    """

    def __init__(
        self,
        *,
        image: bool = True,
        strong: bool = False,
        transforms: Callable[[dict[str, Tensor]], Mapping[str, Any]] | None = None,
    ) -> None:
        self.image, self.transforms = image, transforms
        self.move = RandMove(prob=0.9, degrees=20, shift=0.1, scale=0.25, bend=0.02) if strong else RandMove()
        self.intensity = rand_intensity(strong)
        self.color = rand_color() if strong else None

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> Augment:
        super().set_random_state(seed, state)
        self.move.set_random_state(state=self.R)
        self.intensity.set_random_state(state=self.R)
        if self.color is not None:
            self.color.set_random_state(state=self.R)
        if isinstance(self.transforms, Randomizable):
            self.transforms.set_random_state(seed=int(self.R.randint(2**31)))
        return self

    def __call__(self, item: Item) -> Item:
        image, masks = item.image, item.masks
        if self.image:
            assert isinstance(image, Tensor)
            image, masks = self.changed(image, masks, all_moves(item.moves))
        if self.transforms is not None:
            image, masks = self._by_user(image, masks)
        questions = [self._point_anew(q, e, masks.numpy()) for q, e in zip(item.questions, item.entities)]
        return replace(item, image=image, masks=masks, questions=questions)

    def _by_user(self, image: Any, masks: Tensor) -> tuple[Tensor, Tensor]:
        assert self.transforms is not None
        out = self.transforms({"image": image, "masks": masks.float()})
        new, moved = (torch.as_tensor(out[key]) for key in ("image", "masks"))
        if new.shape != image.shape or moved.shape != masks.shape:
            found = f"image {list(new.shape)} and masks {list(moved.shape)}"
            raise InputError("transforms", found, f"{list(image.shape)} and {list(masks.shape)}, as they were given")
        return new.float().clamp(0, 1), moved >= 0.5

    def changed(self, image: Tensor, masks: Tensor, allowed: Moves) -> tuple[Tensor, Tensor]:
        """The image [3, S, S] and its masks bool [K, S, S], moved as is allowed, and of another intensity."""
        if allowed.affine:
            image, masks = self.move(image, masks, (allowed.left_right, allowed.up_down))
        if self.color is not None and not torch.equal(image[0], image[1]):
            image = self.color(image)
        return torch.as_tensor(np.asarray(self.intensity(image))).clamp(0, 1), masks

    def moved(self, masks: Tensor, allowed: Moves, seed: int) -> Tensor:
        """What `changed` makes of masks with that seed, without an image."""
        self.set_random_state(seed)
        return self.move(torch.zeros(1, *masks.shape[1:]), masks, (allowed.left_right, allowed.up_down))[1]

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
        variants: how many of each image are in there, of which `drawn` takes one at random (`data.variants`).
        strong: the variants are those of `Augment(strong=True)`.
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
        variants: int = 1,
        strong: bool = False,
    ) -> None:
        load = LoadItem(
            rows,
            conversation,
            image_size,
            with_answers=with_answers,
            sentences=sentences,
            variants=0 if features is None else variants,
            strong=strong,
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
        self.rows, self.augment, self.others, self.features = rows, augment, others, features
        self.variation = Augment(strong=strong)

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
        if self.features is not None:
            item = self._stored(item, draw.seed, self.features)
        if self.augment is not None:
            self.augment.set_random_state(draw.seed)
            item = self.augment(item)
        return item if self.others is None else self._exchange(item, np.random.default_rng(draw.seed))

    def _stored(self, item: Item, seed: int, features: FeatureCache) -> Item:
        """An item with the maps of one of the variants that its questions allow, and with masks that lie on it."""
        usable = item.variants if all(moves.affine for moves in item.moves) else item.variants[:1]
        variant = usable[np.random.default_rng(seed).integers(len(usable))]
        masks = item.masks
        if variant.seed is not None:
            masks = self.variation.moved(masks, variant.moves, variant.seed)
        return replace(item, image=features[variant.key], masks=masks)

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
