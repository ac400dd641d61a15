"""The loader of a training run: for each step the micro-batches that this process computes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from .dataset import Batch, MimoSegDataset, collate
from .order import TrainingOrder


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
