"""What an image may show without a label is never called absent."""

from __future__ import annotations

from itertools import product

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_mimo.data.names import terms_by_region
from monai_mimo.errors import DataError
from monai_mimo.mimoseg.catalogue import plausible
from monai_mimo.mimoseg.catalogue.plausible import load_regions, regions, safely_absent, uncertain, view
from monai_mimo.mimoseg.catalogue.vocabulary import _FILE as VOCABULARY
from monai_mimo.mimoseg.catalogue.vocabulary import vocabulary

ENTRIES = yaml.safe_load(VOCABULARY.read_text())
MODALITIES = tuple(regions().modalities)


def told(name: str, key: str) -> set[str]:
    """What the vocabulary's file says of a name, or else of its family."""
    entry = ENTRIES[name]
    return set(entry.get(key) or ENTRIES.get(entry.get("family"), {}).get(key) or [])


def test_every_name_has_parts_and_modalities_that_exist() -> None:
    for name in vocabulary():
        assert told(name, "regions"), name
        assert told(name, "regions") <= {*regions().parts, "anywhere"}, name
        assert told(name, "modalities") <= set(MODALITIES), name
        assert told(name, "regions") == {"anywhere"} or "anywhere" not in told(name, "regions"), name


def test_every_name_can_be_shown_somewhere() -> None:
    for name in vocabulary():
        parts = told(name, "regions")
        able = [m for m in told(name, "modalities") or MODALITIES if parts & {*regions().modalities[m], "anywhere"}]
        assert able, name


def test_terms_are_sorted_by_the_same_parts() -> None:
    assert set(terms_by_region()) == {*regions().parts, "nowhere"} - {"tool"}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(sorted(ENTRIES)), min_size=1, max_size=4), st.sampled_from(MODALITIES))
def test_absent_names_as_the_files_say(labels: list[str], modality: str) -> None:
    """Against each name of the vocabulary on its own, told from the raw files."""
    clear = [p for label in labels if len(p := told(label, "regions") - {"anywhere"}) == 1]
    clear = clear or [told(label, "regions") - {"anywhere"} for label in labels]
    core = set().union(*clear)
    able = set(regions().modalities[modality])
    parts = {*core, *(near for part in core for near in regions().parts[part])} & able or able
    absent = set(safely_absent("a set of nobody", labels, modality))
    for name, entry in ENTRIES.items():
        kin = {name, entry.get("family", "")}
        own = {word for label in labels for word in (label, ENTRIES[label].get("family", "")) if word}
        out_of_sight = not told(name, "regions") & parts or modality not in (told(name, "modalities") or {modality})
        expected = not kin & own and told(name, "regions") != {"anywhere"} and out_of_sight
        assert (name in absent) == expected, name


@pytest.mark.parametrize(
    ("labels", "modality", "absent", "possible"),
    [
        (["optic disc"], "fundus", ["liver", "lung", "left rib 3", "cell nucleus"], ["optic cup", "retinal vein"]),
        (
            ["liver"],
            "CT",
            ["cell nucleus", "optic disc", "cerebellum"],
            ["spleen", "lung", "T12 vertebra", "tumor", "bone"],
        ),
        (["left kidney"], "CT", ["skin lesion"], ["kidney", "right kidney", "left kidney"]),
        (["vertebra"], "MR", ["hard exudate", "wound"], ["L1 vertebra", "vertebra", "aorta"]),
        (["lung", "heart"], "X-ray", ["pancreas", "left ventricle", "hippocampus"], ["clavicle", "liver", "stomach"]),
        (
            ["polyp"],
            "endoscopy",
            ["brain", "glomerulus"],
            ["colon", "stomach", "instrument shaft", "Barrett esophagus"],
        ),
        (["lymphocyte"], "microscopy", ["heart", "skin lesion"], ["cell nucleus", "basophil"]),
        (["unicorn"], "CT", ["cell nucleus", "polyp of nobody"], ["brain", "liver", "femur"]),
    ],
)
def test_what_is_safe_to_call_absent(labels: list[str], modality: str, absent: list[str], possible: list[str]) -> None:
    found = safely_absent("a set of nobody", labels, modality)
    assert {name for name in absent if name in vocabulary()} <= set(found)
    assert set(possible).isdisjoint(found)


def test_names_of_nobody_are_never_called_absent() -> None:
    assert safely_absent("set", ["optic disc"], "fundus", ["unicorn", "liver", "optic disc"]) == ["liver"]


def test_what_is_seen_in_a_set_is_never_absent(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "regions.yaml"
    file.write_text(
        "parts: {abdomen: [], retina: [], spine: []}\n"
        "modalities: {CT: [abdomen, spine]}\n"
        "sets: {narrow: {parts: [abdomen], visible: [vertebra, hard exudate]}}\n"
    )
    monkeypatch.setattr(plausible, "regions", lambda: load_regions(file))
    absent = safely_absent("narrow", ["liver"], "CT")
    assert "optic disc" in absent
    assert "hippocampus" in absent
    assert {"vertebra", "L1 vertebra", "hard exudate", "liver", "spleen"}.isdisjoint(absent)
    assert view("narrow", ["liver"], "CT").parts == {"abdomen"}
    assert uncertain("narrow") == {"vertebra", "hard exudate"}
    assert uncertain("another") == frozenset()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("parts: [", "parsing"),
        ("parts: {}", "modalities"),
        ("parts: {eye: [face]}\nmodalities: {}", "'face'"),
        ("parts: {eye: []}\nmodalities: {CT: [foot]}", "'foot'"),
        ("parts: {eye: []}\nmodalities: {}\nsets: {one: {parts: [foot]}}", "'foot'"),
        ("parts: {eye: []}\nmodalities: {}\nsets: {one: {seen: [liver]}}", "seen"),
    ],
)
def test_faults_of_a_file_are_named(tmp_path, text: str, says: str) -> None:
    file = tmp_path / "regions.yaml"
    file.write_text(text)
    with pytest.raises(DataError, match=says) as caught:
        load_regions(file)
    assert str(file) in str(caught.value)


def test_packaged_sets_name_what_the_vocabulary_has() -> None:
    for source, seen in regions().sets.items():
        assert set(seen.visible) <= set(vocabulary()), source


def test_no_label_of_a_set_is_absent_from_it() -> None:
    for labels, modality in product((["heart"], ["femur", "rib"], ["L3 vertebra"], ["wound"]), MODALITIES):
        assert set(labels).isdisjoint(safely_absent("set", labels, modality))


def test_sets_that_were_looked_at() -> None:
    """A few that anyone can check who looks at them."""
    assert {"liver", "lung", "femur", "cell nucleus"} <= set(safely_absent("glioma_mr_utsw", ["edema"], "MR"))
    assert "kidney" not in safely_absent("cardiac_mr_acdc", ["left ventricle"], "MR")
    assert {"liver", "heart"} <= set(safely_absent("ultrasound_nerve", ["nerve"], "ultrasound"))
    assert "L1 vertebra" in uncertain("spine_mr_vb3")
