"""Drafts of the user's file come first; what breaks a rule or says the same again is left out and counted."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from monai_mimo.errors import DataError, InputError
from monai_mimo.mimoseg.questions.drafts import Draft, write_drafts
from monai_mimo.mimoseg.questions.pool import RowSettings, count_rejections, draft_pool, is_known
from monai_mimo.mimoseg.questions.validate import NEAR_DUPLICATE, near_duplicates
from tests.mimoseg.questions.test_validate import BOXES, KIDNEY, ONE, POINT

KEY = (ONE.entities, ONE.perspective, ONE.clue)
OTHER = replace(ONE, question="Please point out the organ that stores sugar as glycogen between meals.")
SAME = replace(ONE, question=ONE.question.replace("digestion of fat", "digestion of  FAT"))
NAMED = replace(ONE, question="Does the liver make bile for the digestion of fat?")
STRAY = replace(ONE, question="Is it the liver <box> that makes bile for the digestion of fat?")


def with_file(settings: RowSettings, path: Path) -> RowSettings:
    return replace(settings, drafts=path)


def test_the_file_comes_before_the_offline_writer(settings: RowSettings, tmp_path: Path) -> None:
    write_drafts(tmp_path / "drafts.jsonl", [ONE, OTHER, POINT])
    mine = with_file(settings, tmp_path / "drafts.jsonl")
    assert draft_pool(*KEY, mine) == (ONE, OTHER)
    assert draft_pool(("spleen",), 4, "point", mine) == (POINT,)
    assert {draft.writer for draft in draft_pool(("spleen",), 4, "box", mine)} == {"offline"}


def test_drafts_about_several_are_found_in_any_order(settings: RowSettings, tmp_path: Path) -> None:
    write_drafts(tmp_path / "drafts.jsonl", [BOXES])
    mine = with_file(settings, tmp_path / "drafts.jsonl")
    assert (
        draft_pool(("liver", "spleen"), 4, "box", mine) == draft_pool(("spleen", "liver"), 4, "box", mine) == (BOXES,)
    )


def test_a_folder_of_files(settings: RowSettings, tmp_path: Path) -> None:
    write_drafts(tmp_path / "b.jsonl", [OTHER])
    write_drafts(tmp_path / "a.jsonl", [ONE])
    (tmp_path / "notes.txt").write_text("no drafts")
    assert draft_pool(*KEY, with_file(settings, tmp_path)) == (ONE, OTHER)


def test_rejections_are_counted_by_rule(settings: RowSettings, tmp_path: Path) -> None:
    write_drafts(tmp_path / "drafts.jsonl", [ONE, NAMED, SAME, STRAY, OTHER])
    mine = with_file(settings, tmp_path / "drafts.jsonl")
    assert draft_pool(*KEY, mine) == (ONE, OTHER)
    assert count_rejections(mine, [KEY]) == {"gives away": 2, "markers": 1, NEAR_DUPLICATE: 1}
    assert count_rejections(mine, [KEY, (list(ONE.entities), 3, "")]) == count_rejections(mine, [KEY])
    assert count_rejections(mine, []) == {}


def test_a_file_without_one_good_draft_gives_way(settings: RowSettings, tmp_path: Path) -> None:
    write_drafts(tmp_path / "drafts.jsonl", [NAMED])
    pool = draft_pool(*KEY, with_file(settings, tmp_path / "drafts.jsonl"))
    assert pool == draft_pool(*KEY, settings)
    assert count_rejections(with_file(settings, tmp_path / "drafts.jsonl"), [KEY])["gives away"] == 1


def test_a_pool_is_made_once(settings: RowSettings) -> None:
    assert draft_pool(*KEY, settings) is draft_pool(list(ONE.entities), 3, "", pickle.loads(pickle.dumps(settings)))


@pytest.mark.parametrize(("perspective", "clue"), [(3, ""), (4, "box"), (4, "point")])
def test_pools_are_large_distinct_and_seeded(settings: RowSettings, perspective: int, clue: str) -> None:
    pool = draft_pool(("liver",), perspective, clue, settings)
    assert len(pool) >= 40
    assert near_duplicates([draft.question for draft in pool]) == set()
    assert pool != draft_pool(("liver",), perspective, clue, replace(settings, seed=1))


def test_only_entities_with_knowledge_are_known(settings: RowSettings, tmp_path: Path) -> None:
    unknown: Draft = replace(ONE, entities=("gizzard",), answer="This is the <p> gizzard </p> <SEG>.")
    write_drafts(tmp_path / "drafts.jsonl", [unknown, KIDNEY])
    mine = with_file(settings, tmp_path / "drafts.jsonl")
    assert is_known("left kidney", mine)
    assert not is_known("gizzard", mine)
    assert draft_pool(("gizzard",), 3, "", mine) == ()


def test_bad_files_are_errors(settings: RowSettings, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"perspective": 3}\n')
    with pytest.raises(DataError, match=r"bad\.jsonl"):
        draft_pool(*KEY, with_file(settings, tmp_path / "bad.jsonl"))
    with pytest.raises(InputError):
        draft_pool(*KEY, with_file(settings, tmp_path / "none.jsonl"))
