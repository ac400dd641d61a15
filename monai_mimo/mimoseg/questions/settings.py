"""What decides the questions of a build."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..numerals import PERSPECTIVES


@dataclass(frozen=True)
class RowSettings:
    """What decides the questions, apart from the slice itself; it can be sent to other processes.

    Attributes:
        entities: by modality, every entity that some source labels.
        questions_per_image: about how many rows of perspectives I to IV an image gives, the same number of each; V gives half
            as many beside them, or as many alone.
        perspectives: those that are made, of those that a case allows.
        drafts: a JSONL file of drafts, or a folder of such files, which take the place of the offline writer's.
        knowledge: the user's own knowledge records, which are added to the packaged ones or replace them.
    """

    entities: dict[str, tuple[str, ...]]
    seed: int = 0
    questions_per_image: int = 8
    perspectives: tuple[int, ...] = PERSPECTIVES
    drafts: Path | None = None
    knowledge: tuple[Path, ...] = ()
