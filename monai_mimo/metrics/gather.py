"""What several processes have measured, together on each of them."""

from __future__ import annotations

from typing import TypeVar

import ignite.distributed as idist
import torch.distributed as dist

T = TypeVar("T")


def gather(part: list[T]) -> list[T]:
    """The lists of all processes, one after the other by rank; every process must call it. Alone: the list itself."""
    count = idist.get_world_size()
    if count == 1:
        return part
    parts: list[list[T]] = [[] for _ in range(count)]
    dist.all_gather_object(parts, part)
    return [value for values in parts for value in values]
