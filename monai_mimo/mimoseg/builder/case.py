"""One case -> its rows of questions and answers -> one shard on disk. This is all that a worker process does, on this machine
or on another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter

from ... import __version__
from ...errors import DataError, MimoError
from ...files import atomic_file, digest, output_errors
from ..catalogue.plausible import safely_absent, uncertain
from ..catalogue.vocabulary import vocabulary
from ..categories import MEASURED
from ..encoding import encode_rle
from ..load import FEATURES
from ..questions.measured import Scene, measured_samples
from ..questions.perspectives import Sample, instructions, reasoning, visual_clues
from ..questions.pool import RowSettings, draft_pool, is_known
from ..sources.cases import Case, patient_key
from ..sources.read_case import ShownSlice, read_case
from ..sources.vqa_sets import shown_picture

SCHEMA = FEATURES.arrow_schema
DraftKey = tuple[tuple[str, ...], int, str]  # entities, perspective, clue
NOTES = 5  # of a case


def slice_rows(case: Case, shown: ShownSlice, settings: RowSettings) -> Iterator[dict[str, Any]]:
    """The rows of one slice; its questions depend on the settings and the slice alone, not on other cases' order."""
    image_id = digest(f"{case.source}/{case.key}/{shown.number}")[:16]
    rng = np.random.default_rng([settings.seed, int(image_id, 16)])
    codes: dict[str, dict[str, Any]] = {}
    for number, sample in enumerate(slice_samples(case, shown, settings, rng)):
        for phrase in sample.phrases:
            if phrase not in codes:  # many rows ask for the same mask
                codes[phrase] = encode_rle(shown.masks[phrase])
        yield row_of(case, shown, sample, codes, image_id, number)


def slice_samples(case: Case, shown: ShownSlice, settings: RowSettings, rng: np.random.Generator) -> Iterator[Sample]:
    """The questions about one slice, perspective by perspective; those of V are drawn apart, and change no other."""
    [measuring] = rng.spawn(1)
    wanted = set(case.perspectives) & set(settings.perspectives)
    share = max(1, settings.questions_per_image // max(1, len(wanted)))
    masks = shown.masks
    here = [name for name in shown.absent if name not in uncertain(case.source)]
    if 1 in wanted:
        yield from instructions(masks, here, names_elsewhere(case, settings, rng), share, rng)
    if 2 in wanted:
        yield from visual_clues(masks, share, rng)
    pool = partial(draft_pool, settings=settings)
    known = [name for name in masks if is_known(name, settings)]
    for perspective in sorted(wanted & {3, 4}):
        yield from reasoning(masks, known, perspective, share, pool, rng)
    if MEASURED in settings.perspectives:
        elsewhere = safely_absent(case.source, case.labels, case.modality, labelled_names(settings))
        scene = Scene(masks, case.modality, here, elsewhere, shown.spacing_mm)
        yield from measured_samples(scene, max(1, settings.questions_per_image // (2 if wanted else 1)), measuring)


def labelled_names(settings: RowSettings) -> set[str]:
    """What the sources of a build label."""
    return {name for names in settings.entities.values() for name in names}


def names_elsewhere(case: Case, settings: RowSettings, rng: np.random.Generator) -> list[str]:
    """Names of what the image cannot show: those that some source labels, and as many others of the vocabulary."""
    labelled = labelled_names(settings)
    known = safely_absent(case.source, case.labels, case.modality, labelled)
    others = safely_absent(case.source, case.labels, case.modality, vocabulary().keys() - labelled)
    count = min(len(others), max(len(known), 1))
    return known + [others[i] for i in sorted(rng.choice(len(others), size=count, replace=False))]


def vqa_rows(case: Case, shown: ShownSlice) -> Iterator[dict[str, Any]]:
    """The rows about one image, in the columns of `schema`, without masks and prompts."""
    image_id = digest(f"{case.source}/{case.file}")[:16]
    for pair in case.pairs:
        sample = Sample(0, pair.question, pair.answer, phrases=[], template=pair.template)
        yield row_of(case, shown, sample, {}, image_id, pair.number)


def row_of(
    case: Case, shown: ShownSlice, sample: Sample, codes: dict[str, dict[str, Any]], image_id: str, number: int
) -> dict[str, Any]:
    """One row, in the columns of `schema`. `codes` has the mask of each phrase."""
    return {
        "id": f"{image_id}-{number}",
        "image": {"bytes": shown.encoded, "path": None},
        "image_id": image_id,
        "size": shown.size,
        "modality": case.modality,
        "source": case.source,
        "patient": patient_key(case),
        "slice": shown.number,
        "sequence": case.sequence or "",
        "spacing_mm": shown.spacing_mm or [],
        "perspective": sample.perspective,
        "question": sample.question,
        "answer": sample.answer,
        "entities": [{"phrase": p, "mask": codes[p], "label": str(case.labels[p])} for p in sample.phrases],
        "absent": sample.absent,
        "points": sample.points,
        "boxes": sample.boxes,
        "template": sample.template,
        "value": dict(zip(("kind", "answer"), sample.value)),
        "file": case.file,
        "builder": __version__,
    }


@dataclass(frozen=True)
class CaseTask:
    """What a worker is told. `number` is the place of the case in the plan; SHARD.arrow and SHARD.json are written."""

    number: int
    case: Case
    settings: RowSettings
    slices_per_volume: int
    shard: Path


@dataclass(frozen=True)
class CaseResult:
    """What became of a case.

    Attributes:
        rows: of each image that gave any, in the order of the shard, where each image is a record batch.
        size: bytes of the shard.
        dropped: reason -> how many.
        notes: what was odd, the first few of it; `noted` is how much there was.
        drafts: which pools of questions of perspectives III and IV it drew from.
        failure: (where, found, expected), when it gave nothing because something is wrong.
    """

    rows: tuple[int, ...] = ()
    size: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    noted: int = 0
    drafts: tuple[DraftKey, ...] = ()
    failure: tuple[str, str, str] | None = None


CASE_RESULT = TypeAdapter(CaseResult)  # to and from JSON


def build_case(task: CaseTask) -> CaseResult:
    """Write the rows of a case, then its result, which says that the rows are complete.

    A fault of the case's own files ends up in the result, and no rows of the case stay.

    Raises:
        OutputError: the shard cannot be written.
    """
    tally = Tally()
    shard, result_file = task.shard.with_suffix(".arrow"), task.shard.with_suffix(".json")
    with output_errors(shard):
        shard.parent.mkdir(parents=True, exist_ok=True)
        try:
            with atomic_file(shard) as file:
                with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, SCHEMA) as writer:
                    for batch in image_batches(task, tally):
                        writer.write_batch(batch)
                result = tally.result(file.stat().st_size)
        except MimoError as error:
            result = CaseResult(failure=(error.where, error.found, error.expected))
        with atomic_file(result_file) as file:
            file.write_bytes(CASE_RESULT.dump_json(result))
    return result


@dataclass
class Tally:
    """What is counted while a case is read; see `CaseResult`."""

    rows: list[int] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    drafts: set[DraftKey] = field(default_factory=set)

    def count(self, shown: ShownSlice, labels: int, rows: list[dict[str, Any]]) -> None:
        """Add a slice of a case with so many labels, and the rows that it gave."""
        self.notes += shown.notes
        self.dropped.update(shown.passed)
        self.dropped["mask too small"] += labels - len(shown.masks) - len(shown.absent)
        if rows:
            self.rows.append(len(rows))
        else:
            self.dropped["image without a question"] += 1
        for row in rows:
            if row["perspective"] in (3, 4):
                clue = "box" if row["boxes"] else "point" if row["points"] else ""
                self.drafts.add((tuple(e["phrase"] for e in row["entities"]), row["perspective"], clue))

    def result(self, size: int) -> CaseResult:
        """Of a case whose shard has `size` bytes."""
        dropped = {reason: n for reason, n in sorted(self.dropped.items()) if n}
        notes = tuple(self.notes[:NOTES])
        return CaseResult(tuple(self.rows), size, dropped, notes, len(self.notes), tuple(sorted(self.drafts)))


def image_batches(task: CaseTask, tally: Tally) -> Iterator[pa.RecordBatch]:
    """The rows of each image of a case; the first of them has the image.

    Raises:
        MimoError: whatever is wrong with the case; one case must not end a build of many.
    """
    try:
        for shown, rows in shown_rows(task):
            tally.count(shown, len(task.case.labels), rows)
            for row in rows[1:]:
                row["image"] = None  # all have the same; see `assemble`
            if rows:
                yield pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
    except MimoError:
        raise
    except Exception as error:
        raise DataError(task.case.image, f"{type(error).__name__}: {error}", "a case that can be read") from error


def shown_rows(task: CaseTask) -> Iterator[tuple[ShownSlice, list[dict[str, Any]]]]:
    """Each image of a case with its rows: what was published about it, or what is asked about its masks."""
    case = task.case
    if case.pairs:
        shown = shown_picture(case)
        yield shown, list(vqa_rows(case, shown))
        return
    for shown in read_case(case, task.slices_per_volume):
        yield shown, list(slice_rows(case, shown, task.settings))
