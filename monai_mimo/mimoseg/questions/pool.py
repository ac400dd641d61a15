"""What decides the questions of a build, and the drafts that it may use: valid, distinct, and made once in a process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from ..categories import PERSPECTIVES
from .drafts import Draft, read_drafts
from .knowledge import Knowledge, load_knowledge
from .offline import OfflineWriter
from .validate import NEAR_DUPLICATE, broken_rules, near_duplicates
from .words import find_knowledge

Key = tuple[tuple[str, ...], int, str]  # entities, perspective, clue
ONE, SEVERAL = 60, 12  # drafts about one entity, and about each choice of several


@dataclass(frozen=True)
class RowSettings:
    """What decides the questions, apart from the slice itself; it can be sent to other processes.

    Attributes:
        entities: by modality, every entity that some source labels.
        questions_per_image: about how many rows of perspectives I to IV an image gives, the same number of each; V gives half
            as many beside them, or as many alone.
        perspectives: those that are made, of those that a case allows.
        drafts: a JSONL file of drafts, or a folder of such files, which take the place of the offline writer's.
        knowledge: the user's own knowledge entries, which are added to the packaged ones or replace them.
    """

    entities: dict[str, tuple[str, ...]]
    seed: int = 0
    questions_per_image: int = 8
    perspectives: tuple[int, ...] = PERSPECTIVES
    drafts: Path | None = None
    knowledge: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Checked:
    """The drafts that may be used, and how many broke which rule."""

    drafts: tuple[Draft, ...]
    rejected: dict[str, int]


def draft_pool(entities: Sequence[str], perspective: int, clue: str, settings: RowSettings) -> tuple[Draft, ...]:
    """The drafts about `entities`; none where too little is known.

    Those of the user's file come first, with the entities in whatever order they were written; where the file has none that
    keeps the rules, the offline writer is asked, which keeps the order of `entities`.

    Raises:
        DataError, InputError: the file of drafts or a knowledge entry cannot be used.
    """
    return checked((tuple(entities), perspective, clue), settings).drafts


def count_rejections(settings: RowSettings, keys: Iterable[Key]) -> dict[str, int]:
    """How many drafts about these keys (entities, perspective, clue) were left out, by the rule that they broke."""
    total: Counter[str] = Counter()
    for entities, perspective, clue in sorted({(tuple(e), p, c) for e, p, c in keys}):
        total.update(checked((entities, perspective, clue), settings).rejected)
    return dict(sorted(total.items()))


def is_known(entity: str, settings: RowSettings) -> bool:
    """Whether something is known of an entity, so that perspectives III and IV can ask about it."""
    return find_knowledge(entity, knowledge_of(tuple(settings.knowledge))) is not None


def checked(key: Key, settings: RowSettings) -> Checked:
    """The drafts of one key after all rules."""
    return _checked(key, settings.seed, settings.drafts, tuple(settings.knowledge))


@lru_cache(maxsize=2048)  # choices of several entities can be very many
def _checked(key: Key, seed: int, file: Path | None, own: tuple[Path, ...]) -> Checked:
    knowledge = knowledge_of(own)
    rejected: Counter[str] = Counter()
    entities, perspective, clue = key
    from_file = drafts_by_key(file).get((tuple(sorted(entities)), perspective, clue), []) if file else []
    drafts = keep_valid(from_file, knowledge, rejected)
    if not drafts:
        count = ONE if len(entities) == 1 else SEVERAL
        written = OfflineWriter(knowledge).write(entities, perspective, clue, count, seed)
        drafts = keep_valid(written, knowledge, rejected)
    return Checked(tuple(drafts), dict(rejected))


def keep_valid(drafts: Sequence[Draft], knowledge: dict[str, Knowledge], rejected: Counter[str]) -> list[Draft]:
    """The drafts that keep every rule, without near-duplicates; the others are counted in `rejected`."""
    broken = [broken_rules(draft, knowledge) for draft in drafts]
    rejected.update(rule for rules in broken for rule in rules)
    valid = [draft for draft, rules in zip(drafts, broken) if not rules]
    doubles = near_duplicates([draft.question for draft in valid])
    rejected.update({NEAR_DUPLICATE: len(doubles)} if doubles else {})
    return [draft for number, draft in enumerate(valid) if number not in doubles]


@cache
def knowledge_of(own: tuple[Path, ...]) -> dict[str, Knowledge]:
    """The packaged entries with the user's."""
    return load_knowledge(own)


@cache
def drafts_by_key(path: Path) -> dict[Key, list[Draft]]:
    """The drafts of a JSONL file, or of all such files of a folder, by their entities in alphabetical order.

    Raises:
        DataError, InputError: a file cannot be read, or a line of it is no draft.
    """
    found: dict[Key, list[Draft]] = {}
    for file in sorted(path.glob("*.jsonl")) if path.is_dir() else [path]:
        for draft in read_drafts(file):
            found.setdefault((tuple(sorted(draft.entities)), draft.perspective, draft.clue), []).append(draft)
    return found
