"""Loading the steps of a run, in this process or ahead of it in others, from any step on."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler


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
    """A cluster sends SIGTERM to workers too, and the run needs them until it has saved: they end by that of the run alone, which
    sends it when it fails, and then waits for them."""
    if not hasattr(signal, "sigwaitinfo"):  # macOS, where there are no clusters
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_by_parent, args=(os.getppid(),), daemon=True).start()


def _end_by_parent(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)


def as_it_is(batches: Any) -> Any:
    """What `Steps` gives is batches already."""
    return batches
