"""One record for each question of an evaluation: what was asked, answered and measured. All results come from records alone."""

from __future__ import annotations

from typing import Any

from ..inference.answer import Entity
from ..metrics import Grounded, Reference, closed_right, match_pairs, measured_answer, open_recall, predicted_ious
from ..metrics.grounding import count_sample
from ..mimoseg.categories import MEASURED
from ..mimoseg.encoding import encode_rle, plain_answer

Record = dict[str, Any]
KEPT = (
    "id", "image_id", "source", "modality", "perspective", "patient", "template", "question", "points", "boxes", "answer",
    "entities", "absent",
)  # fmt: skip


def record_of(number: int, row: dict[str, Any], text: str, entities: list[Entity], reference: Reference) -> Record:
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


def failed_record(number: int, row: dict[str, Any], why: str, reference: Reference) -> Record:
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


def _start(number: int, row: dict[str, Any]) -> Record:
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


def records_of_batch(output: dict[str, Any]) -> list[Record]:
    """The records of what a `GroundingEvaluator` has put out for one batch."""
    references = iter(output["references"])
    answered = zip(output["numbers"], output["rows"], output["texts"], output["entities"])
    records = [record_of(*parts, next(references)) for parts in answered]
    return records + [failed_record(number, row, why, next(references)) for number, row, why in output["failed"]]
