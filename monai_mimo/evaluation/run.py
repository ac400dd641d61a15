"""A whole evaluation, from weights and questions to a report; the bundle's config puts the same parts together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
import torch.distributed as dist
from datasets import Dataset as Rows

from ..models import Mimo
from ..models.weights import fingerprint
from .answer_records import Results, rows_identity
from .evaluator import GroundingEvaluator, evaluation_loader
from .progress import Progress
from .report import EvaluationReport


def join_processes() -> None:
    """Join the others when `torchrun` has started this process; do nothing alone, or when that is done."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        idist.initialize("nccl" if torch.cuda.is_available() else "gloo")


def leave_processes() -> None:
    """The end of `join_processes`."""
    if dist.is_initialized():
        idist.finalize()


def identity_of(rows: Rows, weights: str | Path, max_tokens: int, images_per_batch: int) -> dict[str, Any]:
    """What makes an evaluation the same as one that was ended: the questions, the weights, and what changes the answers."""
    return {
        "rows": rows_identity(rows),
        "weights": fingerprint(weights),
        "max_tokens": max_tokens,
        "images_per_batch": images_per_batch,
    }


def about_run(network: Mimo, weights: str | Path, dataset: str | Path, split: str) -> dict[str, str]:
    """What a report says about itself."""
    weights, dataset = Path(weights), Path(dataset)
    name = f"{weights.name}@{fingerprint(weights)}"
    return {"weights": name, "preset": network.config.preset, "data set": dataset.name, "split": split}


def evaluate(
    network: Mimo,
    weights: str | Path,
    rows: Rows,
    output_dir: str | Path,
    *,
    device: str | torch.device = "cpu",
    images_per_batch: int = 8,
    max_tokens: int = 64,
    resamples: int = 1000,
    seed: int = 0,
    temperature: float | None = None,
    about: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Ask all questions and write the report.

    Args:
        network: on `device`; weights: the folder it came from.
        rows: from `load_mimoseg`.
        output_dir, resamples, seed, temperature, about: see `EvaluationReport`.

    Returns:
        the summary, in the first process; elsewhere nothing.

    Raises:
        DataError, OutputError: see `EvaluationReport.write`.
    """
    results = Results(output_dir, identity_of(rows, weights, max_tokens, images_per_batch))
    report = EvaluationReport(output_dir, results, resamples=resamples, seed=seed, temperature=temperature, about=about)
    loader = evaluation_loader(network, rows, images_per_batch, results.done)
    handlers = [Progress("evaluating"), report]
    evaluator = GroundingEvaluator(device, loader, network, rows, max_tokens=max_tokens, val_handlers=handlers)
    evaluator.run()
    return report.summary
