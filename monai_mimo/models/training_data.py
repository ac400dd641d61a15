"""Which data sets weights have learned from, and on what terms: training_data.json in a weights folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import WeightsError
from ..files import write_json
from ..licences import UNKNOWN, USES, strictest, use_of

FILE = "training_data.json"


@dataclass(frozen=True)
class TrainingData:
    """The sets, name -> licence."""

    sets: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def united(cls, *several: TrainingData | None) -> TrainingData | None:
        """What was learned from the one and then from the next, where it is told; of two licences of one name the stricter."""
        told = [one for one in several if one is not None]
        sets: dict[str, str] = {}
        for name, text in (item for one in told for item in one.sets.items()):
            sets[name] = max(sets.get(name, text), text, key=lambda licence: USES.index(use_of(licence)))
        return cls(dict(sorted(sets.items()))) if told else None

    @property
    def strictest(self) -> str:
        """The use that all sets allow; see `licences.USES`."""
        return strictest(self.sets.values())

    def to_json(self) -> dict[str, Any]:
        """What the file holds: the strictest use, and each set with its licence and use."""
        sets = [{"name": name, "licence": text, "use": use_of(text)} for name, text in self.sets.items()]
        return {"use": self.strictest, "sets": sets}

    def save(self, folder: Path) -> None:
        """Write the file into a weights folder."""
        write_json(folder / FILE, self.to_json())

    @classmethod
    def load(cls, folder: Path) -> TrainingData:
        """That of a weights folder. One without the file has learned from nobody knows what.

        Raises:
            WeightsError: the file is damaged.
        """
        file = folder / FILE
        if not file.exists():
            return cls({f"what {folder.name} learned from": UNKNOWN})
        try:
            return cls({str(entry["name"]): str(entry["licence"]) for entry in json.loads(file.read_text())["sets"]})
        except (OSError, ValueError, KeyError, TypeError) as error:
            expected = '{"sets": [{"name", "licence"}, ...]}'
            raise WeightsError(file, f"{type(error).__name__}: {error}", expected) from error
