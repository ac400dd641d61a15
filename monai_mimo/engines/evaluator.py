"""Evaluation by generation: the model writes its own answers, and they are compared on the pixels of each image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from datasets import Dataset as Rows
from ignite.metrics import Metric, MetricsLambda
from monai.data import DataLoader
from monai.engines import Evaluator

from ..data.dataset import Batch
from ..inference.grounding import ground
from ..metrics import Grounded, GroundingMetric, Reference
from ..mimoseg.rle import decode_rle
from ..models import Mimo
from ..transforms.resize import SquareResize


class GroundingEvaluator(Evaluator):
    """Answers every question of a loader made by `evaluation_loader`.

    `engine.state.output` holds, for each question of the batch, `rows` (its row), `texts`, `entities`, `predictions` and
    `references`; the last two feed `grounding_metrics`.

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

    def _iteration(self, engine: GroundingEvaluator, batchdata: Batch) -> dict[str, Any]:
        network, device = engine.network, engine.state.device
        network.eval()
        rows = [engine.rows[number] for number in batchdata.rows]
        resizes = [SquareResize(*row["size"], network.config.image_size) for row in rows]
        with torch.no_grad():
            features = network.encode(batchdata.images.to(device))
            answers = network.answer(features, batchdata.questions.to(device), engine.max_tokens)
        results = ground(network, answers, resizes)
        return {
            "rows": rows,
            "texts": [text for text, _ in results],
            "entities": [entities for _, entities in results],
            "predictions": [Grounded([e.phrase for e in es], [e.mask for e in es]) for _, es in results],
            "references": [reference_of(row) for row in rows],
        }


def reference_of(row: dict[str, Any]) -> Reference:
    """What a row of a built set expects."""
    return Reference(
        phrases=[e["phrase"] for e in row["entities"]],
        masks=[decode_rle(e["mask"]) for e in row["entities"]],
        perspective=row["perspective"],
        modality=row["modality"],
    )


def grounding_metrics() -> dict[str, Metric]:
    """`f1` over all questions, as the key metric, with the table that it comes from as `grounding`."""

    def pairs(output: dict[str, Any]) -> tuple[list[Grounded], list[Reference]]:
        return output["predictions"], output["references"]

    table = GroundingMetric(output_transform=pairs)
    f1: Callable[[dict], float] = lambda result: result["overall"]["f1"]  # noqa: E731
    return {"f1": MetricsLambda(f1, table), "grounding": table}
