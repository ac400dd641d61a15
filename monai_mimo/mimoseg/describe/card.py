"""What a build leaves beside its rows. dataset.json says what was built from what, and what was left out and why; it depends on
the plan alone, not on time or workers. README.md is the data card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import yaml

from ... import __version__
from ..builder.case import CaseResult
from ..builder.plan import BuildPlan
from ..catalogue.licences import licence_of
from ..catalogue.record import find_record
from ..categories import MEASURED, NUMERALS, SPLITS
from ..load import FEATURES
from ..questions.pool import count_rejections
from ..sources.cases import patient_key

REPORT, CARD = "dataset.json", "README.md"
NOTES = 200  # of a source; a set in which masks overlap on every slice must not fill the report


V = """

V asks for what the masks tell: the kind of image, whether something is there, how many there are, on which side, how large it is,
and whether a prompt marks it. The right value stands in the column `value`; what the masks leave in doubt is not asked."""
VQA = "\n\nVQA are questions that were published with their answers, without masks; published splits of them are kept."
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**9, "1M<n<10M"))


def make_report(
    plan: BuildPlan, results: Mapping[int, CaseResult], kept: Mapping[int, tuple[int, ...]], counts: Counter
) -> dict[str, Any]:
    """The report.

    Args:
        results: of the cases that were reached, by number.
        kept: rows that were taken of each image of each of them.
        counts: rows by (split, origin, source, modality, perspective).
    """
    rows: dict[str, Counter] = {split: Counter() for split in SPLITS}
    by_source: dict[str, Counter] = {source.name: Counter() for source in plan.sources}
    sets: dict[str, Counter] = {source.name: Counter() for source in plan.sources}
    for (split, origin, name_of_set, modality, perspective), count in sorted(counts.items()):
        name = f"perspective {NUMERALS[perspective]}" if perspective else NUMERALS[0]
        rows[split][f"{modality or 'not stated'}, {name}"] += count
        by_source[origin][name] += count
        sets[origin][name_of_set] += count
    patients: dict[str, set[str]] = {}
    for number, taken in kept.items():
        if taken:
            case = plan.cases[number]
            patients.setdefault(patient_key(case), set()).add(plan.split(case))
    chosen = Counter(plan.origins)
    reached: dict[str, list[int]] = {source.name: [] for source in plan.sources}
    for number in sorted(results):
        reached[plan.origins[number]].append(number)
    sources = []
    for source in plan.sources:
        numbers = reached[source.name]
        dropped: Counter[str] = Counter()
        for number in numbers:
            dropped.update(results[number].dropped)
        dropped["case beyond the limits"] = len(source.cases) - len(numbers)
        several = sets[source.name].keys() - {source.name}
        sources.append(
            {
                "name": source.name,
                "path": str(source.path),
                "layout": source.layout,
                "found": len(source.cases),
                "chosen": chosen[source.name],
                "cases": sum(bool(kept[n]) for n in numbers),
                "failed": sum(results[n].failure is not None for n in numbers),
                "images": sum(len(kept[n]) for n in numbers),
                "rows": sum(sum(kept[n]) for n in numbers),
                "rows by perspective": dict(by_source[source.name]),
                "licence": source.licence,
                **(
                    {"sets": dict(sets[source.name]), "licences": {name: licence_of(name) for name in sorted(several)}}
                    if several
                    else {}
                ),
                "dropped": {reason: n for reason, n in sorted(dropped.items()) if n},
                "notes": [*source.notes, *(note for n in numbers for note in results[n].notes)][:NOTES],
                "noted": len(source.notes) + sum(results[n].noted for n in numbers),
            }
        )
    failed = [
        {"source": plan.origins[n], **dict(zip(("file", "found", "expected"), result.failure))}
        for n, result in sorted(results.items())
        if result.failure is not None
    ]
    return {
        "version": __version__,
        "seed": plan.arguments["seed"],
        "split": plan.ratio,
        "arguments": plan.arguments,
        "patients": {split: sum(split in of for of in patients.values()) for split in SPLITS},
        "patients in two splits": sum(len(of) > 1 for of in patients.values()),
        "sources": sources,
        "failed": failed,
        "rejected drafts": rejections(plan, results),
        "rows": {split: dict(sorted(cells.items())) for split, cells in rows.items()},
    }


def rejections(plan: BuildPlan, results: Mapping[int, CaseResult]) -> dict[str, int]:
    """Drafts of perspectives III and IV that broke a rule -> how many, of all that the used cases drew from."""
    keys = {key for result in results.values() for key in result.drafts}
    return count_rejections(next(iter(plan.settings.values())), keys)  # drafts and knowledge are those of every source


def data_card(report: dict[str, Any], split_bytes: dict[str, int]) -> str:
    """The text of README.md.

    Args:
        report: see `report`.
        split_bytes: of the rows of each split.
    """
    counts = {split: sum(cells.values()) for split, cells in report["rows"].items()}
    rows = {split: n for split, n in counts.items() if n}  # `datasets` knows no split without rows
    head = {
        "pretty_name": "MIMOSeg",
        "license": "other",
        "license_name": "as-the-sources",
        "task_categories": ["visual-question-answering", "image-segmentation"],
        "tags": ["medical"],
        "size_categories": [next(name for limit, name in SIZES if sum(rows.values()) < limit or limit == 10**9)],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"{split}/data-*.arrow"} for split in rows],
            }
        ],
        "dataset_info": {
            "features": FEATURES._to_yaml_list(),
            "splits": [{"name": s, "num_bytes": split_bytes[s], "num_examples": n} for s, n in rows.items()],
        },
    }
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n\n{body(report)}"


def body(report: dict[str, Any]) -> str:
    """The part for people."""
    failed = len(report["failed"])
    shared = report["patients in two splits"]
    apart = (
        "no patient is in two of them" if not shared else f"{shared} patients are in two, as their sets were published"
    )
    found = {name for source in report["sources"] for name in source["rows by perspective"]}
    more = V * (f"perspective {NUMERALS[MEASURED]}" in found) + VQA * (NUMERALS[0] in found)
    unused = "Every case could be read." if not failed else f"{failed} case{'s' * (failed > 1)} could not be used."
    return f"""# MIMOSeg

Questions about medical images whose answers tie each phrase to a mask, built from labelled sets by monai-mimo {report["version"]}
(`mimo build`, seed {report["seed"]}). **For research only, not for diagnosis.**

## Splits

By patient ({report["split"]}); {apart}.

{splits_table(report)}

## Perspectives

I names what is to be segmented, II points at it, III asks for knowledge of it without naming it, IV points and asks for
knowledge. The texts of **III and IV come from knowledge records that were not reviewed by a clinician** unless a record
says so, or from a language model where drafts of one were given (column `template`); treat them as such.{more}

## Sources and licences

The images and masks are those of their sources, under the sources' own terms; this file grants nothing beyond them. Patients
are hashed.

{sources_table(report)}

{unused} `dataset.json` names each case that failed with the reason, and counts all else that was left out.

## Reading it

    from monai_mimo.mimoseg import load_mimoseg
    rows = load_mimoseg(DIR, split="train", perspective=1)   # memory-mapped

or `datasets.load_dataset(DIR)`, which copies it to its cache. One row is one question; the columns are documented in
`monai_mimo.mimoseg.load`: each has its source, file, slice, label values, template or writer, and the builder's version.
"""


def splits_table(report: dict[str, Any]) -> str:
    """Rows by split and perspective."""
    cells: Counter[tuple[str, str]] = Counter()
    for split, keys in report["rows"].items():
        for key, count in keys.items():
            cells[split, key.rpartition(", ")[2].removeprefix("perspective ")] += count
    columns = [name for name in NUMERALS if any(column == name for _, column in cells)]
    lines: list[list[Any]] = [["split", "patients", *columns, "all"]]
    for split, keys in report["rows"].items():
        counts = [cells[split, column] for column in columns]
        lines.append([split, report["patients"].get(split, 0), *counts, sum(keys.values())])
    return table(lines)


def sources_table(report: dict[str, Any]) -> str:
    """What was taken from each source, and on what terms."""
    lines: list[list[Any]] = [["source", "cases", "images", "rows", "licence", "citation"]]
    for source in report["sources"]:
        name = source["name"]
        lines.append([name, source["cases"], source["images"], source["rows"], source["licence"], citation(name)])
        for part, rows in source.get("sets", {}).items():  # of a release of many sets
            licence = source["licences"].get(part, source["licence"])
            lines.append([f"{name}: {part}", "", "", rows, licence, citation(part)])
    return table(lines)


def citation(name: str) -> str:
    """Of a set, as far as the catalogue knows it."""
    record = find_record(name)
    return record.citation if record else ""


def table(lines: list[list[Any]]) -> str:
    """Markdown; the first line is the head."""
    texts = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    rule = ["---"] * len(lines[0])
    return "\n".join(f"| {' | '.join(line)} |" for line in (texts[0], rule, *texts[1:]))
