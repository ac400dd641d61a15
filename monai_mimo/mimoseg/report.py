"""dataset.json: what was built from what, and what was left out and why. It depends on the plan alone, not on time or workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from .. import __version__
from .build_case import Receipt
from .cases import patient_key
from .numerals import NUMERALS
from .plan import Plan
from .questions.pool import count_rejections
from .splits import SPLITS

NOTES = 200  # of a source; a set in which masks overlap on every slice must not fill the report


def make_report(
    plan: Plan, receipts: Mapping[int, Receipt], kept: Mapping[int, tuple[int, ...]], counts: Counter
) -> dict[str, Any]:
    """The report.

    Args:
        receipts: of the cases that were reached, by number.
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
    for number in sorted(receipts):
        reached[plan.origins[number]].append(number)
    sources = []
    for source in plan.sources:
        numbers = reached[source.name]
        dropped: Counter[str] = Counter()
        for number in numbers:
            dropped.update(receipts[number].dropped)
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
                "failed": sum(receipts[n].failure is not None for n in numbers),
                "images": sum(len(kept[n]) for n in numbers),
                "rows": sum(sum(kept[n]) for n in numbers),
                "rows by perspective": dict(by_source[source.name]),
                **({"sets": dict(sets[source.name])} if several else {}),
                "dropped": {reason: n for reason, n in sorted(dropped.items()) if n},
                "notes": [*source.notes, *(note for n in numbers for note in receipts[n].notes)][:NOTES],
                "noted": len(source.notes) + sum(receipts[n].noted for n in numbers),
            }
        )
    failed = [
        {"source": plan.origins[n], **dict(zip(("file", "found", "expected"), receipt.failure))}
        for n, receipt in sorted(receipts.items())
        if receipt.failure is not None
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
        "rejected drafts": rejections(plan, receipts),
        "rows": {split: dict(sorted(cells.items())) for split, cells in rows.items()},
    }


def rejections(plan: Plan, receipts: Mapping[int, Receipt]) -> dict[str, int]:
    """Drafts of perspectives III and IV that broke a rule -> how many, of all that the used cases drew from."""
    keys = {key for receipt in receipts.values() for key in receipt.drafts}
    return count_rejections(next(iter(plan.settings.values())), keys)  # drafts and knowledge are those of every source
