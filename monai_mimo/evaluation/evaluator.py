"""Evaluation by generation: the model writes its own answers, and they are compared on the pixels of each image."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from datasets import Dataset as Rows
from ignite.metrics import Metric, MetricsLambda
from monai.data import DataLoader
from monai.engines import Evaluator
from torch.utils.data import Dataset

from ..data.dataset import Batch, Item, LoadItem, collate, rows_by_image
from ..errors import MimoError
from ..inference.answer import Entity, ground
from ..inference.encoded_image import EncodedImage
from ..inference.predictor import MimoPredictor
from ..inference.question import Question
from ..metrics import Grounded, GroundingMetric, Reference
from ..mimoseg.encoding import decode_rle
from ..models import Mimo
from ..transforms.resize import SquareResize


@dataclass
class EvaluationBatch:
    """A batch of questions, or none if none of them could be read; `failed`: row -> why it could not."""

    batch: Batch | None
    failed: dict[int, str] = field(default_factory=dict)


class QuestionReader(Dataset):
    """Row numbers of an image -> items with all its questions, and what of them cannot be read and why."""

    def __init__(self, model: Mimo, rows: Rows, groups: Sequence[Sequence[int]]) -> None:
        self.groups, self.pad_id = groups, model.tokenizer.pad_token_id
        self.load = LoadItem(rows, model.conversation(), model.config.image_size, with_answers=False)

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, place: int) -> tuple[list[Item], dict[int, str]]:
        return self.read(self.groups[place])

    def read(self, numbers: Sequence[int]) -> tuple[list[Item], dict[int, str]]:
        """One item where all can be read; else those that can, one by one."""
        try:
            return [self.load(numbers)], {}
        except Exception as error:
            if len(numbers) == 1:
                return [], {numbers[0]: error_line(error)}
        parts = [self.read([number]) for number in numbers]
        return [i for items, _ in parts for i in items], {n: why for _, failed in parts for n, why in failed.items()}

    def collate(self, parts: Sequence[tuple[list[Item], dict[int, str]]]) -> EvaluationBatch:
        """Put images together."""
        items = [item for items, _ in parts for item in items]
        failed = {number: why for _, part in parts for number, why in part.items()}
        return EvaluationBatch(collate(items, self.pad_id, generate=True) if items else None, failed)


def evaluation_loader(
    model: Mimo, rows: Rows, images_per_batch: int, done: Collection[int] = (), workers: int = 0
) -> DataLoader:
    """All questions of all images in order, without answers, in `EvaluationBatch`es.

    In a run of several processes each takes every so manyth batch. The batches themselves do not depend on the number of
    processes (padding changes the last digits of what a model computes), and none is repeated to make shares even: a process
    without a share gets one empty batch, so that it takes part in what all do together.

    Args:
        done: rows that have been answered before; batches of only such are left out.
    """
    groups = rows_by_image(rows)
    places = range(len(groups))
    batches = [list(places[i : i + images_per_batch]) for i in range(0, len(groups), images_per_batch)]
    known = set(done)
    open_batches = [batch for batch in batches if any(n not in known for place in batch for n in groups[place])]
    reader = QuestionReader(model, rows, groups)
    share = open_batches[idist.get_rank() :: idist.get_world_size()] or [[]]
    return DataLoader(reader, batch_sampler=share, num_workers=workers, collate_fn=reader.collate)


def error_line(error: Exception) -> str:
    """An error on one line."""
    text = str(error) if isinstance(error, MimoError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:500]


logger = logging.getLogger(__name__)


class GroundingEvaluator(Evaluator):
    """Answers every question of a loader made by `evaluation_loader`.

    `engine.state.output` holds, for each question of the batch that was answered, `numbers` and `rows` (its row), `texts` and
    `entities`; `failed`: (number, row without image, why) of those that could not be; `predictions` and `references`: of
    the former and then the latter, for `grounding_metrics`.

    Args:
        device: where the model runs.
        val_data_loader: batches collated for generation.
        network: the model.
        rows: the rows that the loader's batches number.
        max_tokens: the longest answer.
        key_val_metric, additional_metrics, val_handlers: as in MONAI's evaluators.
    """

    def __init__(
        self,
        device: str | torch.device,
        val_data_loader: DataLoader,
        network: Mimo,
        rows: Rows,
        *,
        max_tokens: int = 64,
        key_val_metric: dict[str, Metric] | None = None,
        additional_metrics: dict[str, Metric] | None = None,
        val_handlers: Sequence | None = None,
    ) -> None:
        super().__init__(
            device=device,
            val_data_loader=val_data_loader,
            key_val_metric=key_val_metric,
            additional_metrics=additional_metrics,
            val_handlers=val_handlers,
            decollate=False,
        )
        self.network, self.rows, self.max_tokens = network, rows, max_tokens
        # What stands beside an image can be read even when the image cannot.
        self.without_images = rows.select_columns([name for name in rows.column_names if name != "image"])

    @cached_property
    def predictor(self) -> MimoPredictor:
        """The network as users ask it; what finds names by their typing errors is made once."""
        return MimoPredictor(self.network, device=self.state.device)

    def _iteration(self, engine: GroundingEvaluator, batchdata: EvaluationBatch | Batch) -> dict[str, Any]:
        engine.network.eval()
        batch = batchdata if isinstance(batchdata, EvaluationBatch) else EvaluationBatch(batchdata)
        numbers, results, failed = engine.answer(batch.batch)
        failed = {**batch.failed, **failed}
        rows = [engine.rows[number] for number in numbers]
        failures = [(number, engine.without_images[number], why) for number, why in failed.items()]
        for _, row, why in failures:
            logger.warning("not answered: %s (%s)", row["id"], why)
        said = [Grounded([e.phrase for e in entities], [e.mask for e in entities]) for _, entities in results]
        return {
            "numbers": numbers,
            "rows": rows,
            "texts": [text for text, _ in results],
            "entities": [entities for _, entities in results],
            "failed": failures,
            "predictions": said + [Grounded([], [], failed=True)] * len(failures),
            "references": [reference_of(row) for row in [*rows, *(row for _, row, _ in failures)]],
        }

    def answer(self, batch: Batch | None) -> tuple[list[int], list[tuple[str, list[Entity]]], dict[int, str]]:
        """Row numbers and results of the questions of a batch. When the model fails on it, they are asked one by one; the
        last value says of which it failed even so, and why."""
        if batch is None:
            return [], [], {}
        try:
            return list(batch.rows), self.ask(batch), {}
        except Exception as error:
            if len(batch.rows) == 1:
                return [], [], {batch.rows[0]: error_line(error)}
            logger.warning("a batch of %d questions failed, so they are asked one by one: %s", len(batch.rows), error)
        reader = QuestionReader(self.network, self.rows, [[number] for number in batch.rows])
        parts = [self.answer(reader.collate([reader[place]]).batch) for place in range(len(reader))]
        return (
            [number for numbers, _, _ in parts for number in numbers],
            [result for _, results, _ in parts for result in results],
            {number: why for _, _, failed in parts for number, why in failed.items()},
        )

    def ask(self, batch: Batch) -> list[tuple[str, list[Entity]]]:
        """Text and entities of each question; where regions have names, by the way of `MimoPredictor`, with all its checks."""
        network, device = self.network, self.state.device
        if network.region_names is not None:
            return self._ask_as_a_user(batch)
        resizes = [
            SquareResize(*self.without_images[number]["size"], network.config.image_size) for number in batch.rows
        ]
        with torch.no_grad():
            features = network.encode(batch.images.to(device))
            answers = network.answer(features, batch.questions.to(device), self.max_tokens)
        return ground(network, answers, resizes)

    def _ask_as_a_user(self, batch: Batch) -> list[tuple[str, list[Entity]]]:
        """With what a second look and the checks need; but the file's modality is not told, which would answer the questions
        about it."""
        with torch.no_grad():
            features = self.network.encode(batch.images.to(self.state.device))
        images: dict[int, EncodedImage] = {}
        questions = []
        for number, image in zip(batch.rows, batch.questions.image_index.tolist()):
            row = self.without_images[number]
            if image not in images:
                pixels = np.asarray(self.rows[number]["image"].convert("RGB"))
                resize = SquareResize(*pixels.shape[:2], self.network.config.image_size)
                own = features.select(torch.tensor([image], device=self.state.device))
                images[image] = EncodedImage(own, resize, spacing_mm=row["spacing_mm"] or None, pixels=pixels)
            questions.append((images[image], Question(row["question"], row["points"], row["boxes"])))
        answers = self.predictor.ask_each(*zip(*questions), max_tokens=self.max_tokens)
        return [(answer.text, answer.entities) for answer in answers]


def reference_of(row: dict[str, Any]) -> Reference:
    """What a row of a built set expects."""
    return Reference(
        phrases=[e["phrase"] for e in row["entities"]],
        masks=[decode_rle(e["mask"]) for e in row["entities"]],
        perspective=row["perspective"],
        modality=row["modality"],
        source=row["source"],
    )


def grounding_metrics() -> dict[str, Metric]:
    """`f1` over all questions, as the key metric, with the table that it comes from as `grounding`."""

    def pairs(output: dict[str, Any]) -> tuple[list[Grounded], list[Reference]]:
        return output["predictions"], output["references"]

    table = GroundingMetric(output_transform=pairs)
    f1: Callable[[dict], float] = lambda result: result["overall"]["f1"]  # noqa: E731
    return {"f1": MetricsLambda(f1, table), "grounding": table}
