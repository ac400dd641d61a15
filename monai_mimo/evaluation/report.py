"""What an evaluation leaves behind: figures as JSON and Markdown, one HTML report with pictures, every answer, and panels."""

from __future__ import annotations

import base64
import csv
import io
import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import ignite.distributed as idist
import matplotlib
from datasets import Dataset as Rows
from ignite.engine import Engine, Events
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from ..errors import DataError
from ..files import output_errors, write_json, write_text
from ..metrics.bootstrap import LEVEL
from ..metrics.grounding import perspective_name
from ..metrics.table import TextTable, escaped, grounding_text_table, measured_text_table, shown, vqa_text_table
from ..metrics.text import EXTRA
from ..mimoseg.categories import MEASURED
from ..visualize import PALETTE, panel
from .answer_records import AnswerRecord, Results, records_of_batch
from .examples import best_median_worst, panel_rows, picture_example
from .summary import scored_phrases, summarise

SHADES = [tuple(value / 255 for value in color) for color in (PALETTE[6], PALETTE[0])]
GREY = "0.55"


def figures_chart(summary: Mapping[str, Any], field: str = "f1", label: str = "grounding F1") -> str:
    """One figure of each perspective, modality and source as a point with its interval."""
    names = [
        name
        for name, cell in summary.items()
        if isinstance(cell, Mapping)
        and "f1" in cell
        and cell["samples"]
        and ", perspective " not in name
        and not math.isnan(cell[field])
    ]
    figure = Figure(figsize=(6.4, 0.9 + 0.28 * len(names)), layout="constrained")
    axis = figure.subplots()
    for place, name in enumerate(reversed(names)):
        cell = summary[name]
        low, high = cell["interval"].get(field, [math.nan, math.nan])
        axis.plot([low, high], [place, place], color=SHADES[0], linewidth=2.5, alpha=0.45, solid_capstyle="round")
        axis.plot(cell[field], place, "o", color=SHADES[0], markersize=6)
    axis.set_yticks(range(len(names)), [f"{name} ({summary[name]['samples']})" for name in reversed(names)], fontsize=9)
    for text in axis.get_yticklabels():
        text.set_parse_math(False)  # a name with a dollar is a name
    axis.set_xlim(-0.02, 1.02)
    axis.set_xlabel(label, fontsize=9)
    axis.grid(axis="x", alpha=0.25)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    return _svg(figure)


def reliability_chart(calibration: Mapping[str, Any]) -> str:
    """Fraction right against mean score in bins, the diagonal, and how many phrases each bin has."""
    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="perfect")
    kinds = [("raw score", calibration)]
    if "scaled" in calibration:
        kinds.append((f"after temperature {calibration['scaled']['temperature']:.2f}", calibration["scaled"]))
    for (name, values), shade in zip(kinds, SHADES):
        points = [(s, c) for s, c, n in zip(values["score"], values["correct"], values["count"]) if n]
        upper.plot(*zip(*points), "o-", color=shade, markersize=5, label=f"{name} (ECE {values['ece']:.3f})")
        bins = len(values["count"])
        places = [(n + 0.5) / bins for n in range(bins)]
        lower.bar(places, values["count"], width=0.9 / bins, color=shade, alpha=0.5)
    upper.set_ylabel("fraction with IoU > 0.5", fontsize=9)
    upper.legend(frameon=False, fontsize=8)
    lower.set_ylabel("phrases", fontsize=9)
    lower.set_xlabel("score", fontsize=9)
    for axis in (upper, lower):
        axis.set_xlim(-0.02, 1.02)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.2)
    upper.set_ylim(-0.02, 1.02)
    return _svg(figure)


def _svg(figure: Figure) -> str:
    """As an address for an image, in which nothing can be run; the same figure gives the same text."""
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "monai-mimo"}):
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode("ascii")


logger = logging.getLogger(__name__)
METRICS, MARKDOWN, HTML, ANSWERS, PHRASES = (
    "metrics.json", "metrics.md", "report.html", "predictions.jsonl", "calibration.csv",
)  # fmt: skip
MOST_FAILED = 50  # that are listed in the report


class EvaluationReport:
    """Writes the results of a `GroundingEvaluator` run. In a run of several processes it is attached in all of them, and the
    first one writes.

    Args:
        output_dir: metrics.json and metrics.md (all figures), report.html (the same with pictures), predictions.jsonl (every
            question with its answer and masks), calibration.csv (every answered phrase with its score and IoU) and
            panels/MODALITY.png go there.
        results: where records are kept; none: a place of its own, from which nothing can be gone on with.
        rows_per_panel: how many questions of each modality are drawn there.
        resamples, seed: of the bootstrap.
        temperature: for the scores, fitted on another split.
        about: what the report says about itself, such as weights and data set.

    Attributes:
        summary: all figures, once the run is complete, in the first process.
    """

    def __init__(
        self,
        output_dir: str | Path,
        results: Results | None = None,
        *,
        rows_per_panel: int = 4,
        resamples: int = 1000,
        seed: int = 0,
        temperature: float | None = None,
        about: Mapping[str, str] | None = None,
    ) -> None:
        self.output_dir, self.rows_per_panel = Path(output_dir), rows_per_panel
        self.results, self.has_own = results, results is None
        self.resamples, self.seed, self.temperature = resamples, seed, temperature
        self.about = dict(about or {})
        self.summary: dict[str, Any] = {}

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def start(self, engine: Engine) -> None:
        if self.has_own:
            self.results = Results(self.output_dir, {"run": uuid4().hex})

    def collect(self, engine: Engine) -> None:
        assert self.results is not None
        self.results.add(records_of_batch(engine.state.output))

    def write(self, engine: Engine) -> None:
        """Write all files, and remove the partial ones.

        Raises:
            DataError: not one question could be answered.
            OutputError: a file cannot be written.
        """
        assert self.results is not None
        records = self.results.all()
        if idist.get_rank() == 0:
            self.summary = summarise(records, resamples=self.resamples, seed=self.seed, temperature=self.temperature)
            with output_errors(self.output_dir):
                self._write_files(records, engine.rows)
        self.results.finish()
        failures = [record["error"] for record in records if record["error"]]
        if len(failures) == len(records):
            raise DataError(
                "evaluation", f"{len(records)} questions, of which none was answered ({failures[:1]})", "answers"
            )

    def _write_files(self, records: list[AnswerRecord], rows: Rows) -> None:
        out = self.output_dir
        panels = out / "panels"
        panels.mkdir(parents=True, exist_ok=True)
        tables = all_tables(self.summary)
        write_text(out / MARKDOWN, markdown(self.about, tables, self.summary["failed"]))
        write_text(out / HTML, html(self.about, self.summary, tables, records, rows))
        write_text(out / ANSWERS, "".join(json.dumps(record) + "\n" for record in records))
        write_text(out / PHRASES, phrases_csv(records))
        for modality, drawn in panel_rows(records, rows, self.rows_per_panel).items():
            panel(drawn, panels / f"{modality}.png")
        # The last: where it is, all is.
        write_json(out / METRICS, without_nan({"about": self.about, **self.summary}), indent=2)
        for table in tables:
            logger.info("%s\n%s", table.title, table.plain())
        if self.summary["failed"]:
            logger.warning("%d questions could not be answered; metrics.json says why", len(self.summary["failed"]))
        logger.info("written: %s, %s", out / METRICS, out / HTML)


def all_tables(summary: Mapping[str, Any]) -> list[TextTable]:
    """The tables of a summary, without those that have nothing to say."""
    tables = []
    if is_grounded(summary):
        tables.append(grounding_text_table(summary))
    if summary["measured"]:
        tables.append(measured_text_table(summary["measured"]))
    if summary["vqa"]:
        tables.append(vqa_text_table(summary["vqa"]))
    if summary["text"]:
        rows = [
            [name, str(v["samples"]), f"{v['bleu']:.1f}", shown(v["rouge_l"])] if v else [name, "-", "-", "-"]
            for name, v in summary["text"].items()
        ]
        missing = "" if all(summary["text"].values()) else f" (not measured: {EXTRA})"
        tables.append(TextTable(f"Wording of free answers{missing}", ["", "n", "BLEU", "ROUGE-L"], [rows]))
    moved, absent, calibration = (summary[name] for name in ("moved_prompt", "absent_entities", "calibration"))
    tests = []
    if moved["pairs"]:
        tests += [
            ["swapped prompt: the answer changes", str(moved["pairs"]), shown(moved["changed"])],
            ["swapped prompt: to the right phrase and mask", str(moved["pairs"]), shown(moved["accuracy"])],
        ]
    if absent["entities"]:
        tests += [
            ["absent entity: not grounded", str(absent["entities"]), shown(absent["refused"])],
            ["entity that is there: grounded", str(absent["questions"]), shown(absent["found"])],
            ["both, balanced", str(absent["entities"] + absent["questions"]), shown(absent["balanced"])],
        ]
    if tests:
        tables.append(TextTable("Swapped prompt and absent entity", ["", "n", "fraction"], [tests]))
    if calibration["phrases"]:
        kinds = {"raw score": calibration}
        if "scaled" in calibration:
            kinds[f"at temperature {calibration['scaled']['temperature']:.3f}"] = calibration["scaled"]
        rows = [[name, str(calibration["phrases"]), shown(v["ece"]), shown(v["brier"])] for name, v in kinds.items()]
        rows.append([f"fitted here: temperature {calibration['fitted_temperature']:.3f}", "", "", ""])
        tables.append(TextTable("Calibration of the score", ["", "phrases", "ECE", "Brier"], [rows]))
    return tables


def is_grounded(summary: Mapping[str, Any]) -> bool:
    """Whether there is a question in the grounding table: `overall`, or apart from it perspective V."""
    return bool(summary["overall"]["samples"] or perspective_name(MEASURED) in summary)


def markdown(about: Mapping[str, str], tables: list[TextTable], failed: list[dict[str, str]]) -> str:
    """All tables, and the questions that could not be answered."""
    parts = ["# MIMO evaluation\n", *(f"- {escaped(name)}: {escaped(value)}" for name, value in about.items()), ""]
    parts += [f"{table.markdown()}\n" for table in tables]
    if failed:
        parts.append(f"## Not answered ({len(failed)})\n")
        parts += [f"- {escaped(f['id'])} ({escaped(f['source'])}): {escaped(f['error'])}" for f in failed[:MOST_FAILED]]
        if len(failed) > MOST_FAILED:
            parts.append(f"- and {len(failed) - MOST_FAILED} more, in {METRICS}")
    return "\n".join(parts) + "\n"


def html(
    about: Mapping[str, str],
    summary: Mapping[str, Any],
    tables: list[TextTable],
    records: list[AnswerRecord],
    rows: Rows,
) -> str:
    """One page that needs no other file. Jinja escapes all that comes from the data."""
    charts = []
    if is_grounded(summary):
        charts.append(("grounding F1 by perspective, modality and source", figures_chart(summary)))
    if summary["calibration"]["phrases"]:
        charts.append(("reliability diagram", reliability_chart(summary["calibration"])))
    chosen = best_median_worst(records)
    environment = Environment(
        loader=PackageLoader("monai_mimo.evaluation", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("report.html.jinja").render(
        about=about,
        level=f"{100 * LEVEL:g}",
        tiles=tiles(summary),
        failed=summary["failed"],
        most_failed=MOST_FAILED,
        charts=charts,
        tables=tables,
        examples={m: [picture_example(rank, r, rows) for rank, r in of] for m, of in chosen.items()},
    )


def tiles(summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The few figures on top: name, value, note."""
    overall, vqa = summary["overall"], summary["vqa"].get("overall")
    out = [("questions", str(summary["questions"]), f"{len(summary['failed'])} not answered")]
    if overall["samples"]:
        out += [_tile("grounding F1", overall, "f1"), _tile("Dice", overall, "dice"), _tile("IoU", overall, "iou")]
    if summary["measured"]:
        everything = summary["measured"]["all"]
        beside = f"always the most frequent: {shown(everything['majority'])}"
        out.append(("measured questions", shown(everything["accuracy"]), beside))
    if vqa:
        out += [_tile("closed accuracy", vqa, "closed_accuracy"), _tile("open recall", vqa, "open_recall")]
    if summary["moved_prompt"]["pairs"]:
        pairs = f"in {summary['moved_prompt']['pairs']} pairs of questions"
        out.append(("prompt followed", shown(summary["moved_prompt"]["accuracy"]), pairs))
    if summary["calibration"]["phrases"]:
        out.append(ece_tile(summary["calibration"]))
    return out


def ece_tile(calibration: Mapping[str, Any]) -> tuple[str, str, str]:
    """The calibration error of the score that a reader is shown: with a temperature, of the scaled one."""
    if "scaled" in calibration:
        at = f"of the score at temperature {calibration['scaled']['temperature']:.2f} against IoU > 0.5"
        return "ECE", shown(calibration["scaled"]["ece"]), at
    return "ECE", shown(calibration["ece"]), "of the raw score against IoU > 0.5"


def _tile(name: str, cell: Mapping[str, Any], field: str) -> tuple[str, str, str]:
    value, _, interval = shown(cell[field], cell["interval"].get(field)).partition(" ")
    return name, value, interval


def phrases_csv(records: list[AnswerRecord]) -> str:
    """`scored_phrases` as CSV."""
    file = io.StringIO()
    names = ["id", "source", "modality", "patient", "perspective", "phrase", "score", "iou", "correct"]
    writer = csv.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(scored_phrases(records))
    return file.getvalue()


def without_nan(value: Any) -> Any:
    """The same with null for nan, which JSON does not know."""
    if isinstance(value, Mapping):
        return {name: without_nan(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
