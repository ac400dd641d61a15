"""From the records of an evaluation to its figures, with confidence intervals over patients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..metrics import (
    MeasuredAnswer,
    NamingQuestion,
    PromptedAnswer,
    absent_entities,
    apply_temperature,
    bootstrap_ratios,
    fit_temperature,
    is_correct,
    measured_accuracy,
    prompt_swap_accuracy,
    reliability,
    sums_by_patient,
    text_metrics,
)
from ..metrics.grounding import SampleCounts, cells_of, grounding_table, perspective_name
from ..mimoseg.encoding import plain_answer
from .answer_records import AnswerRecord

# Each figure with an interval is a ratio of two sums: weights of the counted fields in numerator and denominator.
FIGURES: dict[str, tuple[dict[str, float], dict[str, float]]] = {
    "precision": ({"correct": 1}, {"predicted": 1}),
    "recall": ({"correct": 1}, {"reference": 1}),
    "f1": ({"correct": 2}, {"predicted": 1, "reference": 1}),
    "dice": ({"dice": 1}, {"paired": 1}),
    "iou": ({"iou": 1}, {"paired": 1}),
    "dice_all": ({"dice": 1}, {"reference": 1}),
    "phrase_accuracy": ({"phrases_right": 1}, {"samples": 1}),
    "refusal_accuracy": ({"refused": 1}, {"refusals": 1}),
}
VQA_FIGURES: dict[str, tuple[dict[str, float], dict[str, float]]] = {
    "closed_accuracy": ({"right": 1}, {"closed": 1}),
    "open_recall": ({"recall": 1}, {"open": 1}),
}
MEASURED_FIGURES: dict[str, tuple[dict[str, float], dict[str, float]]] = {"accuracy": ({"right": 1}, {"samples": 1})}


def summarise(
    records: Sequence[AnswerRecord], *, resamples: int = 1000, seed: int = 0, temperature: float | None = None
) -> dict[str, Any]:
    """All figures of an evaluation, for metrics.json.

    Args:
        records: of all questions, in the order of their rows.
        resamples: of the bootstrap; 0 leaves the intervals out.
        temperature: for the scores, fitted on another split.

    Returns:
        the cells of the grounding table ("overall", "perspective I", "CT", ...), each with `patients` and `interval`; and vqa
        (by source), measured (perspective V, by kind), text (by perspective), moved_prompt, absent_entities, calibration,
        questions, and failed.
    """
    grounded = [record for record in records if record["counts"] is not None]
    return {
        **_grounding(grounded, resamples, seed),
        "vqa": _vqa([record for record in records if record["vqa"] is not None], resamples, seed),
        "measured": measured_figures(records, resamples, seed),
        "text": _texts(records),
        "moved_prompt": prompt_swap_accuracy(prompted(grounded))._asdict(),
        "absent_entities": absent_entities(_naming(grounded)),
        "calibration": calibration(records, temperature),
        "questions": len(records),
        "failed": [{"id": r["id"], "source": r["source"], "error": r["error"]} for r in records if r["error"]],
    }


def _grounding(records: Sequence[AnswerRecord], resamples: int, seed: int) -> dict[str, Any]:
    places = [(r["perspective"], r["modality"], r["source"]) for r in records]
    table = grounding_table([SampleCounts(*place, r["counts"]) for place, r in zip(places, records)])
    groups = _grouped(records, [cells_of(*place) for place in places])
    for name, cell in table.items():
        cell.update(
            _interval(groups.get(name, []), [r["counts"] for r in groups.get(name, [])], FIGURES, resamples, seed)
        )
    return table


def _vqa(records: Sequence[AnswerRecord], resamples: int, seed: int) -> dict[str, Any]:
    """Closed accuracy and open recall of each source, and "overall"; empty without such questions."""
    groups = _grouped(records, [["overall", f"source {r['source']}"] for r in records])
    out: dict[str, Any] = {}
    for name, group in groups.items():
        values = [
            {
                "closed": float("closed" in r["vqa"]),
                "right": r["vqa"].get("closed", 0.0),
                "open": float("open" in r["vqa"]),
                "recall": r["vqa"].get("open", 0.0),
            }
            for r in group
        ]
        sums = {field: float(np.sum([v[field] for v in values])) for field in values[0]}
        figures = {figure: _figure(sums, *parts) for figure, parts in VQA_FIGURES.items()}
        counts = {"samples": len(group), "closed": int(sums["closed"]), "open": int(sums["open"])}
        out[name] = {**counts, **figures, **_interval(group, values, VQA_FIGURES, resamples, seed)}
    return out


def measured_figures(records: Iterable[AnswerRecord], resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """`measured_accuracy` of the questions of perspective V, with `patients` and `interval`; empty without such questions."""
    asked = [record for record in records if record.get("measured")]
    answers = [MeasuredAnswer(*(r["measured"][field] for field in MeasuredAnswer._fields)) for r in asked]
    out = measured_accuracy(answers)
    groups = _grouped(asked, [[answer.kind, "all"] for answer in answers])
    for kind, cell in out.items():
        values = [{"right": float(r["measured"]["right"]), "samples": 1.0} for r in groups[kind]]
        cell.update(_interval(groups[kind], values, MEASURED_FIGURES, resamples, seed))
    return out


def _grouped(records: Sequence[AnswerRecord], names: Sequence[Sequence[str]]) -> dict[str, list[AnswerRecord]]:
    groups: dict[str, list[AnswerRecord]] = {}
    for record, of in zip(records, names):
        for name in of:
            groups.setdefault(name, []).append(record)
    return groups


def _figure(sums: Mapping[str, float], part: Mapping[str, float], whole: Mapping[str, float]) -> float:
    denominator = sum(weight * sums[field] for field, weight in whole.items())
    return sum(weight * sums[field] for field, weight in part.items()) / denominator if denominator else float("nan")


def _interval(
    records: Sequence[AnswerRecord],
    values: Sequence[Mapping[str, float]],
    figures: Mapping[str, tuple[dict[str, float], dict[str, float]]],
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """`patients`, and `interval`: figure -> [low, high]."""
    patients = [record["patient"] for record in records]
    if resamples == 0 or not records:
        return {"patients": len(set(patients)), "interval": {}}

    def sums(side: int) -> np.ndarray:
        weights = [parts[side] for parts in figures.values()]
        rows = [[sum(w * v[field] for field, w in weight.items()) for weight in weights] for v in values]
        return sums_by_patient(patients, np.array(rows, dtype=float))

    bounds = bootstrap_ratios(sums(0), sums(1), resamples=resamples, seed=seed)
    return {"patients": len(set(patients)), "interval": dict(zip(figures, bounds.tolist()))}


def _texts(records: Sequence[AnswerRecord]) -> dict[str, Any]:
    """Text metrics of free answers (III, IV, and open questions of VQA sets), by perspective; none without the libraries."""
    out: dict[str, Any] = {}
    for perspective in (3, 4, 0):
        chosen = [r for r in records if r["perspective"] == perspective and (perspective or "open" in (r["vqa"] or {}))]
        if chosen:
            references = [plain_answer(r["answer"])[0] for r in chosen]
            out[perspective_name(perspective)] = text_metrics([r["predicted_answer"] for r in chosen], references)
    return out


def prompted(records: Iterable[AnswerRecord]) -> list[PromptedAnswer]:
    """Questions of perspective II with one prompt and one answer."""
    return [
        PromptedAnswer(
            r["image_id"],
            r["entities"][0]["phrase"],
            ", ".join(e["phrase"] for e in r["predicted_entities"]),
            r["mask_right"],
        )
        for r in records
        if r["perspective"] == 2 and len(r["points"]) + len(r["boxes"]) == len(r["entities"]) == 1
    ]


def _naming(records: Iterable[AnswerRecord]) -> list[NamingQuestion]:
    return [
        NamingQuestion(
            r["absent"],
            [e["phrase"] for e in r["entities"]],
            None if r["error"] else [e["phrase"] for e in r["predicted_entities"]],
        )
        for r in records
        if r["perspective"] == 1
    ]


def scored_phrases(records: Iterable[AnswerRecord]) -> list[dict[str, Any]]:
    """The table behind the calibration: each answered phrase with its question's id, source, modality, patient and
    perspective, its score in 0..1, the IoU of its mask with the expected one (0 where the phrase was not expected), and
    whether that makes it correct."""
    return [
        {
            **{name: r[name] for name in ("id", "source", "modality", "patient", "perspective")},
            "phrase": entity["phrase"],
            "score": entity["score"],
            "iou": entity["iou"],
            "correct": bool(is_correct([entity["iou"]])[0]),
        }
        for r in records
        for entity in r["predicted_entities"]
        if r["counts"] is not None
    ]


def calibration(records: Iterable[AnswerRecord], temperature: float | None = None) -> dict[str, Any]:
    """How well the score of a phrase tells whether its mask is right.

    Returns:
        phrases: how many; the fields of `Reliability`; fitted_temperature: of these phrases, to be used on others; and, when
        `temperature` is given, `scaled`: the same with scores that it has changed.
    """
    phrases = scored_phrases(records)
    scores, correct = [p["score"] for p in phrases], [p["correct"] for p in phrases]
    out = {
        "phrases": len(phrases),
        **reliability(scores, correct).to_dict(),
        "fitted_temperature": fit_temperature(scores, correct),
    }
    if temperature is not None:
        changed = apply_temperature(scores, temperature).tolist()
        out["scaled"] = {"temperature": temperature, **reliability(changed, correct).to_dict()}
    return out
