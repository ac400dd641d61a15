"""Which entities questions are written about, and the offline writer behind `mimo questions`."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_mimo.cli import main
from monai_mimo.errors import InputError
from monai_mimo.mimoseg.questions.drafts import read_drafts
from monai_mimo.mimoseg.questions.groups import Group, make_groups, named_entities, source_entities
from monai_mimo.mimoseg.questions.knowledge import load_knowledge

NAMES = st.lists(st.sampled_from("abcdef"), unique=True)


@given(st.lists(NAMES, max_size=3), st.integers(1, 3), st.none() | st.integers(1, 9), st.integers(0, 3))
def test_every_choice_once(sets: list[list[str]], several: int, most: int | None, seed: int) -> None:
    every = {choice for names in sets for choice in itertools.combinations(names, several)}
    if not every:
        with pytest.raises(InputError, match="--several"):
            make_groups(sets, [3, 4], several, most, seed)
        return
    groups = make_groups(sets, [3, 4], several, most, seed)
    assert len(set(groups)) == len(groups)
    chosen = {group.entities for group in groups}
    assert chosen <= every
    assert len(chosen) == len(every) if most is None else len(chosen) == min(most, len(every))
    kinds = {(3, ""), (4, "box"), (4, "point")} if several == 1 else {(3, ""), (4, "box")}
    assert set(groups) == {Group(choice, *kind) for choice in chosen for kind in kinds}
    assert groups == make_groups(sets, [3, 4], several, most, seed)


def test_names_and_synonyms() -> None:
    knowledge = load_knowledge()
    assert named_entities(["Left Kidney", "kidney_left", "renal mass"], knowledge) == ["left kidney", "kidney tumor"]
    with pytest.raises(InputError, match="flux capacitor"):
        named_entities(["liver", "flux capacitor"], knowledge)


def test_entities_of_a_set() -> None:
    """KiTS labels kidneys and their tumors, and serves perspectives III and IV; its aliases name it too."""
    assert source_entities("KiTS", [3, 4]) == source_entities("kits19", [4]) == ["kidney", "kidney tumor"]
    with pytest.raises(InputError, match="perspective 1"):
        source_entities("KiTS", [1])
    with pytest.raises(InputError, match="Nowhere"):
        source_entities("Nowhere", [3])


def test_offline_writer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["questions", "--dataset-entities", "KiTS", "--entity", "spleen", "--count", "4", "--out"]
    for name in ("one.jsonl", "two.jsonl"):
        assert main([*command, str(tmp_path / name)]) == 0
    drafts = read_drafts(tmp_path / "one.jsonl")
    assert {d.entities for d in drafts} == {("spleen",), ("kidney",), ("kidney tumor",)}
    assert {d.writer for d in drafts} == {"offline"}
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()


@pytest.mark.parametrize("option", [("--dry-run",), ("--batch", "submit")])
def test_offline_costs_nothing_to_estimate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: tuple[str, ...]
) -> None:
    assert main(["questions", "--entity", "spleen", "--out", str(tmp_path / "drafts.jsonl"), *option]) == 2
    assert option[0] in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
