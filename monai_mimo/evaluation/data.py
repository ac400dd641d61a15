"""The questions of an evaluation in batches: shared among processes without a duplicate, and with what cannot be read listed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import ignite.distributed as idist
from datasets import Dataset as Rows
from monai.data import DataLoader
from torch.utils.data import Dataset

from ..data.dataset import Batch, Item, LoadItem, collate, rows_by_image
from ..errors import MimoError
from ..models import Mimo


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
                return [], {numbers[0]: describe(error)}
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


def describe(error: Exception) -> str:
    """An error on one line."""
    text = str(error) if isinstance(error, MimoError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:500]
