"""Write the figures of docs/model-card.json into the model card, README.md and the bundle, or take new ones first:

    python docs/make_model_card.py                        # what is in docs/model-card.json
    python docs/make_model_card.py OBEY.json QUALITY.json # of benchmarks/obey.py and benchmarks/real_quality.py
    python docs/make_model_card.py --permissive OBEY.json # of benchmarks/obey.py about `lite-permissive`

What stands between marks (`<!-- obey: begin -->`) is replaced; the words around it are a person's, and have to be read again.
"""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from textwrap import fill
from typing import Any

DOCS = Path(__file__).parent
ROOT = DOCS.parent
FIGURES, CARD = DOCS / "model-card.json", DOCS / "model-card.md"
OLD = ("Task04_Hippocampus", "chest_xray_lung", "ct_liver", "endoscopy_polyp", "ultrasound_nerve")
LARGE, SMALL, THIN = "new, 100 images and more", "new, fewer", "thin"
COLUMNS = ("by name", "box", "ellipse", "click", "box + 5 clicks", "scribble", "box named right")
QUESTIONS = ("by name (I)", "box (II)", "point (II)", "from description (III)", "with knowledge (IV)")
BESIDE = (
    *(*COLUMNS, "the set's most frequent name", "scribbles in and out"),
    *("click beside: no name", "known name refused", "swap, box", "swap, point"),
)
OBEY = ("table", "from_masks", "calibration_error", "scores", "costs", "sets", "per_set", "left_out", "weights")
QUALITY = ("dice", "all", "calibration", "calibration_halves", "jitter", "weights")


def rounded(value: Any) -> Any:
    """Values to four digits, and none for what is no number."""
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


def take(obey: Path, quality: Path) -> None:
    """New figures of `lite` into docs/model-card.json."""
    figures, measured = json.loads(FIGURES.read_text()), json.loads(quality.read_text())
    result = json.loads(obey.read_text())
    figures["lite"] = {key: measured[key] for key in QUALITY if key in measured}
    figures["obey"] = {key: rounded(result[key]) for key in OBEY}
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n")


def take_permissive(obey: Path) -> None:
    """New figures of `lite-permissive` into docs/model-card.json."""
    figures, result = json.loads(FIGURES.read_text()), json.loads(obey.read_text())
    figures["permissive"] = {key: rounded(result[key]) for key in OBEY if key != "from_masks"}
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n")


def row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def with_interval(mean: list[float | None]) -> str:
    """[value, low, high, count] -> 0.84 (0.81-0.87)."""
    value, low, high, count = mean
    return f"{value:.2f} ({low:.2f}-{high:.2f})" if count else ""


def obey_tables(result: dict[str, Any]) -> str:
    """What `benchmarks/obey.py` found: by kind and group, of questions answered from masks, and by set."""
    table, costs = result["table"], result["costs"]
    groups = [group for group in next(iter(table.values())) if group not in OLD]
    lines = [row("", *groups), "|---|" + "---|" * len(groups)]
    lines += [row(kind, *(with_interval(by[group]) for group in groups)) for kind, by in table.items()]
    lines += ["", row("asked of masks", "accuracy", "always the most frequent", "questions"), "|---|---|---|---|"]
    for kind, v in result["from_masks"].items():
        lines.append(row(kind.replace("_", " "), f"{v['accuracy']:.2f}", f"{v['majority']:.2f}", str(v["samples"])))
    lines += [
        "",
        f"Calibration error of {result['scores']} scores, prompts beside structures included: {result['calibration_error']:.3f}. "
        f"A second question about an image takes {costs['second question, s']:.2f} s on one busy core; the process of the "
        f"benchmark peaks at {costs['peak memory, GB']:.1f} GB.",
        "",
        row("set", *COLUMNS),
        "|---|" + "---|" * len(COLUMNS),
    ]
    for source, values in result["sets"].items():
        cells = [values.get(column) for column in COLUMNS]
        lines.append(row(source, *("" if cell is None else f"{cell:.2f}" for cell in cells)))
    return "\n".join(lines)


def beside_table(figures: dict[str, Any]) -> str:
    """`lite-permissive` beside `lite`: means over the sets that both learned from, and over those that `lite` alone did."""
    permissive, lite = figures["permissive"], figures["obey"]
    thin = {"fundus_vessel_avrdb", "fundus_vessel_drive_av", "pulmonary_vessels_ct", "fundus_exudate_idrid"}
    known = set(permissive["sets"]) - set(permissive["left_out"])
    groups = {
        "sets that both learned from": known - thin,
        "sets that `lite` alone learned from": set(lite["sets"]) - known - thin - set(lite["left_out"]),
    }
    lines = [row("", *(f"{of}: {group}" for group in groups for of in ("`lite-permissive`", "`lite`")))]
    lines.append("|---|" + "---|" * 4)

    def mean(result: dict[str, Any], kind: str, names: set[str]) -> str:
        values = [result["sets"][name].get(kind) for name in sorted(names)]
        found = [value for value in values if value is not None]
        return f"{sum(found) / len(found):.2f}" if found else ""

    for kind in BESIDE:
        lines.append(
            row(kind, *(mean(result, kind, sets) for sets in groups.values() for result in (permissive, lite)))
        )
    return "\n".join(lines)


def quality_table(figures: dict[str, Any]) -> str:
    """What `benchmarks/real_quality.py` found of the sets that earlier weights knew."""

    def shown(mean: dict[str, float]) -> str:
        return f"{mean['value']:.2f} ({mean['low']:.2f}-{mean['high']:.2f})"

    lines = [row("set", *QUESTIONS), "|---|" + "---|" * len(QUESTIONS)]
    lines += [row(name, *(shown(values[kind]) for kind in QUESTIONS)) for name, values in figures["dice"].items()]
    whole, jitter = figures["all"], figures["jitter"]
    scores = ", ".join(shown(whole[f"F1, perspective {n}"]) for n in ("I", "II", "III", "IV"))
    return "\n".join([
        *lines,
        "",
        f"F1 of perspectives I to IV {scores}; phrase accuracy {shown(whole['phrase accuracy'])}; absent names refused "
        f"{shown(whole['absent entity refused'])}; Dice of boxes with edges moved by 10 % {jitter['dice_after']:.3f} (true ones "
        f"{jitter['dice_before']:.3f}).",
    ])  # fmt: skip


def short_line(result: dict[str, Any], names: int, megabytes: float) -> str:
    """What README.md says of the weights."""

    def value(kind: str, group: str) -> str:
        return f"{result['table'][kind][group][0]:.2f}"

    groups = (LARGE, SMALL, THIN)
    named, box, ellipse = ([value(kind, group) for group in groups] for kind in ("by name", "box", "ellipse"))
    text = f"""The shipped weights ({megabytes:.0f} MB) know {names} names in pictures of all modalities, say what they do not
        know, and outline what a box, clicks or a scribble show. On patients that they never saw, mean Dice by name is {named[0]}
        over sets of 100 images and more, {named[1]} over smaller ones, and {named[2]} for thin vessels; with a box {box[0]},
        {box[1]} and {box[2]}, where a filled ellipse has {ellipse[0]}, {ellipse[1]} and {ellipse[2]}. The [model
        card](docs/model-card.md) has the rest."""
    return fill(" ".join(text.split()), 144, break_long_words=False, break_on_hyphens=False)


def between(text: str, mark: str, new: str) -> str:
    """`text` with `new` between the marks."""
    begin, end = f"<!-- {mark}: begin -->\n", f"\n<!-- {mark}: end -->"
    start, stop = text.index(begin) + len(begin), text.index(end)
    return text[:start] + new + text[stop:]


def pages() -> dict[Path, str]:
    """The files that hold figures, with those of docs/model-card.json."""
    figures = json.loads(FIGURES.read_text())
    weights = ROOT / "monai_mimo" / "models" / "trained" / "lite"
    names = len(json.loads((weights / "config.json").read_text())["config"]["names"])
    megabytes = sum(f.stat().st_size for f in weights.rglob("*") if f.is_file()) / 1e6
    card = between(CARD.read_text(), "obey", obey_tables(figures["obey"]))
    readme, bundle = ROOT / "README.md", ROOT / "bundles" / "mimo"
    about, page = bundle / "configs" / "metadata.json", bundle / "docs" / "README.md"
    dice, whole = figures["lite"]["dice"], figures["lite"]["all"]
    metadata = json.loads(about.read_text())
    metadata["eval_metrics"] = {
        f"mean_dice_{n.lower()}_by_name": round(v["by name (I)"]["value"], 3) for n, v in dice.items()
    }
    metadata["eval_metrics"]["f1_by_name"] = round(whole["F1, by name (I)"]["value"], 3)
    licences = DOCS / "licences.md"
    text = page.read_text()
    for name, values in dice.items():
        cells = row(name, *(f"{values[kind]['value']:.3f}" for kind in QUESTIONS[:2]))
        text = re.sub(rf"\| {name} \| [\d.]+ \| [\d.]+ \|", cells, text)
    return {
        CARD: between(card, "earlier sets", quality_table(figures["lite"])),
        readme: between(readme.read_text(), "shipped weights", short_line(figures["obey"], names, megabytes)),
        about: json.dumps(metadata, indent=2) + "\n",
        page: text,
        licences: between(licences.read_text(), "permissive", beside_table(figures)),
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--permissive"]:
        take_permissive(Path(sys.argv[2]))
    elif sys.argv[1:]:
        take(*map(Path, sys.argv[1:]))
    for file, text in pages().items():
        file.write_text(text)
