"""One record for each question of an evaluation: what was asked, answered and measured. All figures come from records alone, and
they are kept on disk as they come, so that an evaluation that is ended resumes there."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any, TextIO

import ignite.distributed as idist
from datasets import Dataset as Rows

from .. import __version__
from ..files import digest, output_errors
from ..inference.answer import Entity
from ..metrics import Grounded, Reference, closed_right, match_pairs, measured_answer, open_recall, predicted_ious
from ..metrics.grounding import count_sample, gather
from ..mimoseg.categories import MEASURED
from ..mimoseg.encoding import encode_rle, plain_answer

logger = logging.getLogger(__name__)
PARTIAL = ".partial"
AnswerRecord = dict[str, Any]
KEPT = (
    "id", "image_id", "source", "modality", "perspective", "patient", "template", "question", "points", "boxes", "answer",
    "entities", "absent",
)  # fmt: skip


def record_of(
    number: int, row: dict[str, Any], text: str, entities: list[Entity], reference: Reference
) -> AnswerRecord:
    """The record of a question that was answered, as one line of predictions.jsonl: columns of the built set, and

    - row: its number in the split;
    - predicted_answer; predicted_entities: phrase, span in the answer, mask (COCO RLE), score in 0..1, and iou with the
      expected mask of the same phrase, 0 if there is none;
    - counts: what it adds to the grounding table (none for perspective 0); vqa: {"closed": 0 or 1} or {"open": recall};
    - measured: of perspective V, kind, expected and said (`MeasuredAnswer`), and whether it is right (0 or 1); else none;
    - mask_right: whether some phrase is right with its mask;
    - error: why it was not answered.
    """
    predicted = Grounded([e.phrase for e in entities], [e.mask for e in entities])
    said = [
        {"phrase": e.phrase, "span": list(e.span), "mask": encode_rle(e.mask), "score": round(e.score, 6), "iou": iou}
        for e, iou in zip(entities, predicted_ious(predicted, reference))
    ]
    return {
        **_start(number, row),
        "predicted_answer": text,
        "predicted_entities": said,
        "counts": count_sample(predicted, reference) if row["perspective"] else None,
        "vqa": None if row["perspective"] else _vqa(row, text),
        "measured": _measured(row, text),
        "mask_right": bool(match_pairs(predicted, reference)),
        "error": None,
    }


def failed_record(number: int, row: dict[str, Any], why: str, reference: Reference) -> AnswerRecord:
    """The record of a question that could not be answered: it counts as one to which nothing was said, and as wrong."""
    return {
        **_start(number, row),
        "predicted_answer": "",
        "predicted_entities": [],
        "counts": count_sample(Grounded([], [], failed=True), reference) if row["perspective"] else None,
        "vqa": None if row["perspective"] else _vqa(row, ""),
        "measured": _measured(row, ""),
        "mask_right": False,
        "error": why,
    }


def _start(number: int, row: dict[str, Any]) -> AnswerRecord:
    return {"row": number, **{name: row[name] for name in KEPT}}


def _measured(row: dict[str, Any], text: str) -> dict[str, Any] | None:
    if row["perspective"] != MEASURED:
        return None
    answer = measured_answer(row["value"]["kind"], row["value"]["answer"], text)
    return {**answer._asdict(), "right": int(answer.right)}


def _vqa(row: dict[str, Any], text: str) -> dict[str, float]:
    reference, _ = plain_answer(row["answer"])
    if row["template"].endswith("/closed"):
        return {"closed": float(closed_right(text, reference))}
    return {"open": open_recall(text, reference)}


def records_of_batch(output: dict[str, Any]) -> list[AnswerRecord]:
    """The records of what a `GroundingEvaluator` has put out for one batch."""
    references = iter(output["references"])
    answered = zip(output["numbers"], output["rows"], output["texts"], output["entities"])
    records = [record_of(*parts, next(references)) for parts in answered]
    return records + [failed_record(number, row, why, next(references)) for number, row, why in output["failed"]]


class Results:
    """Records of answered questions. Every process of a run makes one, with the same arguments.

    Args:
        output_dir: they are kept in OUTPUT_DIR/.partial until `finish`.
        identity: what makes two evaluations the same; what is left of another one is discarded.

    Attributes:
        done: rows that an earlier run has answered, the same set in all processes.

    Raises:
        OutputError: the folder cannot be written.
    """

    def __init__(self, output_dir: str | Path, identity: dict[str, Any]) -> None:
        self.folder = Path(output_dir) / PARTIAL
        self.identity = {"version": __version__, **identity}
        self.records: dict[int, AnswerRecord] = {}
        self._file: TextIO | None = None
        if self.folder.is_dir():
            for file in sorted(self.folder.glob("*.jsonl")):
                self.records.update(self._read(file))
        # No process writes before all have read.
        self.done = set(gather(list(self.records)))
        if self.done:
            logger.info("going on after %d questions that were answered before", len(self.done))

    def _read(self, file: Path) -> dict[int, AnswerRecord]:
        """The records of a file; none of another evaluation, and not a last line that was cut off."""
        records = {}
        with open(file, encoding="utf-8") as lines:
            try:
                if json.loads(next(lines, "null")) != json.loads(json.dumps(self.identity)):
                    return {}
                for line in lines:
                    record = json.loads(line)
                    records[record["row"]] = record
            except ValueError:
                logger.info("%s ends in the middle of a record, which is asked again", file)
        return records

    def add(self, records: list[AnswerRecord]) -> None:
        """Keep the records of one batch."""
        with output_errors(self.folder):
            if self._file is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                # A file of this process begins anew, with what was read from it, so that no half line is left in its middle.
                self._file = open(self.folder / f"{idist.get_rank()}.jsonl", "w", encoding="utf-8")  # noqa: SIM115
                self._write([self.identity, *self.records.values()])
            self.records.update({record["row"]: record for record in records})
            self._write(records)

    def _write(self, values: list[dict[str, Any]]) -> None:
        assert self._file is not None
        self._file.writelines(json.dumps(value) + "\n" for value in values)
        self._file.flush()

    def all(self) -> list[AnswerRecord]:
        """The records of all processes in the order of their rows. Every process must call it."""
        records = {record["row"]: record for record in gather(list(self.records.values()))}
        return [records[row] for row in sorted(records)]

    def finish(self) -> None:
        """Remove what was kept; the results have been written."""
        if self._file is not None:
            self._file.close()
            self._file = None
        idist.barrier()
        if idist.get_rank() == 0:
            shutil.rmtree(self.folder, ignore_errors=True)


def rows_identity(rows: Rows) -> str:
    """A hash of which questions these are, in which order."""
    return digest(*("\n".join(rows[column]) for column in ("id", "question", "answer")))[:16]
