"""Limits, fractions and splits of sources, and the config file that says them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from monai_mimo.cli import main
from monai_mimo.errors import InputError
from monai_mimo.mimoseg import SourceSpec, build, load_mimoseg
from monai_mimo.mimoseg.builder.config_file import load_config, spec_and_use
from monai_mimo.mimoseg.builder.plan import (
    SourceBudget,
    SourceUse,
    parse_ratio,
    plan_build,
    sample_cases,
    split_patients,
)
from monai_mimo.mimoseg.sources.cases import Case

from ..small_source import contents, small_source

CASES = [Case("set", f"p{n}", "CT", Path(f"/set/{n}.png"), {}, root=Path("/set")) for n in range(40)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> SourceSpec:
    return SourceSpec("small", small_source(tmp_path_factory.mktemp("source") / "small", pictures=10, volumes=4))


def all_rows(out: Path) -> list[dict]:
    return [row for split in ("train", "validation", "test") for row in load_mimoseg(out, split)]


def test_a_larger_sample_holds_the_smaller_one_in_the_order_of_the_source() -> None:
    small, large = (sample_cases(CASES, SourceUse(fraction=f), 0) for f in (0.25, 0.5))
    assert (len(small), len(large)) == (10, 20)
    assert set(map(str, small)) < set(map(str, large))
    assert [CASES.index(c) for c in large] == sorted(CASES.index(c) for c in large)
    assert sample_cases(CASES, SourceUse(), 0) == CASES
    assert len(sample_cases(CASES, SourceUse(fraction=0.5, cases=7), 0)) == 7
    assert sample_cases(CASES, SourceUse(cases=7), 0) != sample_cases(CASES, SourceUse(cases=7), 1)


@given(
    st.lists(st.lists(st.integers(1, 9), max_size=5), max_size=12),
    st.one_of(st.none(), st.integers(1, 30)),
    st.one_of(st.none(), st.integers(1, 60)),
)
def test_a_budget_takes_the_first_rows_up_to_its_limits(
    cases: list[list[int]], images: int | None, rows: int | None
) -> None:
    budget = SourceBudget(SourceUse(images=images, rows=rows))
    taken = [budget.take(case) for case in cases]
    flat, kept = [n for case in cases for n in case], [n for case in taken for n in case]
    allowed = flat[:images]
    expected = min(sum(allowed), rows) if rows is not None else sum(allowed)
    assert sum(kept) == expected
    assert kept[:-1] == flat[: len(kept)][:-1]  # only the last image is cut
    assert all(n > 0 for n in kept)


@pytest.mark.parametrize(("limit", "images", "rows"), [({"images": 7}, 7, None), ({"rows": 50}, None, 50)])
def test_limits_are_met_exactly_whoever_works(
    source: SourceSpec, tmp_path: Path, limit: dict, images: int | None, rows: int | None
) -> None:
    uses = {"small": SourceUse(**limit)}
    build([source], tmp_path / "one", uses=uses, progress=False)
    build([source], tmp_path / "two", uses=uses, workers=2, progress=False)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    found = all_rows(tmp_path / "one")
    report = json.loads((tmp_path / "one" / "dataset.json").read_text())
    assert sum(report["patients"].values()) == len({row["patient"] for row in found})
    assert images in (None, len({row["image_id"] for row in found}))
    assert rows in (None, len(found))


def test_a_limit_of_cases_is_stopped_at(source: SourceSpec, tmp_path: Path) -> None:
    report = build([source], tmp_path / "out", uses={"small": SourceUse(cases=5)}, progress=False)
    assert len({row["file"] for row in all_rows(tmp_path / "out")}) == 5
    assert report["sources"][0]["dropped"]["case beyond the limits"] == 14 - 5


def test_perspectives_and_questions_of_one_source(source: SourceSpec, tmp_path: Path) -> None:
    other = SourceSpec("other", source.path)
    uses = {"other": SourceUse(perspectives=(2,), questions_per_image=2)}
    build([source, other], tmp_path / "out", perspectives=(1, 2), questions_per_image=6, uses=uses, progress=False)
    found = all_rows(tmp_path / "out")
    assert {r["perspective"] for r in found if r["source"] == "small"} == {1, 2}
    assert {r["perspective"] for r in found if r["source"] == "other"} == {2}
    assert set(Counter(r["image_id"] for r in found if r["source"] == "other").values()) == {2}


def test_splits_are_stable_when_sets_are_added(source: SourceSpec, tmp_path: Path) -> None:
    other = SourceSpec("other", small_source(tmp_path / "other", 6, 0, seed=3))
    one = plan_build([source], ratio="60:20:20").split_of
    both = plan_build([other, source], ratio="60:20:20").split_of
    assert one.items() < both.items()


@pytest.mark.parametrize(
    "use", [SourceUse(fraction=0.0), SourceUse(fraction=1.5), SourceUse(cases=0), SourceUse(rows=-1)]
)
def test_bad_limits(source: SourceSpec, use: SourceUse) -> None:
    with pytest.raises(InputError):
        plan_build([source], uses={"small": use})


def test_config_file_builds_what_it_says(source: SourceSpec, tmp_path: Path) -> None:
    entries = [
        {"name": "a", "path": str(source.path), "limit": {"images": 4}, "perspectives": [1]},
        {"name": "b", "path": "here", "fraction": 0.5, "questions_per_image": 2},
    ]
    small_source(tmp_path / "here", 8, 0)
    file = tmp_path / "build.yaml"
    file.write_text(yaml.safe_dump({"sources": entries, "seed": 3, "perspectives": [1, 2], "split": "1:0:0"}))
    assert main(["build", "--config", str(file), "--out", str(tmp_path / "out"), "--seed", "5", "--workers", "1"]) == 0
    found = all_rows(tmp_path / "out")
    assert len({r["image_id"] for r in found if r["source"] == "a"}) == 4
    assert {r["perspective"] for r in found if r["source"] == "a"} == {1}
    assert len({r["file"] for r in found if r["source"] == "b"}) == 4
    listed = [spec_and_use(entry) for entry in load_config(file).sources]
    assert listed[0] == (SourceSpec("a", source.path), SourceUse(images=4, perspectives=(1,)))
    specs, uses = [spec for spec, _ in listed], {spec.name: use for spec, use in listed}
    build(specs, tmp_path / "same", uses=uses, seed=5, perspectives=(1, 2), ratio="1:0:0", progress=False)
    assert contents(tmp_path / "same") == contents(tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("sources: [{name: a}]", "sources.0.path"),
        ("sources: [{name: a, path: b, limits: 3}]", "sources.0.limits"),
        ("sources: [{name: a, path: b, fraction: 2}]", "sources.0.fraction"),
        ("sources: [{name: a, path: b, perspectives: [6]}]", "sources.0.perspectives"),
        ("seeds: 3", "seeds"),
        ("sources: [", "sources"),
    ],
)
def test_bad_config(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "build.yaml").write_text(text)
    with pytest.raises(InputError, match=found) as error:
        load_config(tmp_path / "build.yaml")
    assert "\n" not in str(error.value)


@given(st.sets(st.text(min_size=1, max_size=4), min_size=3, max_size=60), st.integers(0, 5))
def test_split_is_a_partition_that_ignores_order(patients: set[str], seed: int) -> None:
    splits = split_patients(sorted(patients), (0.8, 0.1, 0.1), seed)
    assert set(splits) == patients
    assert split_patients(sorted(patients, reverse=True), (0.8, 0.1, 0.1), seed) == splits
    counts = {name: list(splits.values()).count(name) for name in ("train", "validation", "test")}
    assert min(counts.values()) >= 1
    for name in ("validation", "test"):
        assert abs(counts[name] - 0.1 * len(patients)) <= 1


@pytest.mark.parametrize(("text", "fractions"), [("80:10:10", (0.8, 0.1, 0.1)), ("99:0.5:0.5", (0.99, 0.005, 0.005))])
def test_ratio(text: str, fractions: tuple) -> None:
    assert parse_ratio(text) == pytest.approx(fractions)


@pytest.mark.parametrize("text", ["80:10", "a:b:c", "0:50:50", "80:-10:30", ""])
def test_bad_ratio(text: str) -> None:
    with pytest.raises(InputError):
        parse_ratio(text)
