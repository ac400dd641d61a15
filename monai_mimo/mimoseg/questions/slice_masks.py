"""The masks of one slice, with what prompts are drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from ...transforms.prompts import PromptTarget, inside


class SliceMasks(dict[str, np.ndarray]):
    """Entity -> mask bool [h, w], none empty. A slice is asked about many times, so each target is made once."""

    def __init__(self, masks: Mapping[str, np.ndarray] = {}) -> None:
        super().__init__(masks)
        self._targets: dict[str, PromptTarget] = {}

    @cached_property
    def overlaps(self) -> bool:
        """Whether any two masks share a pixel."""
        covered = np.zeros_like(next(iter(self.values())))
        for mask in self.values():
            if (covered & mask).any():
                return True
            covered |= mask
        return False

    def target(self, name: str) -> PromptTarget:
        """Of entity `name`; a point in it never falls on a smaller entity that lies mostly inside, for it would mean that."""
        if name not in self._targets:
            self._targets[name] = PromptTarget(self[name], self._inside(name))
        return self._targets[name]

    def _inside(self, name: str) -> np.ndarray | None:
        return inside(np.stack(list(self.values())), list(self).index(name)) if self.overlaps else None
