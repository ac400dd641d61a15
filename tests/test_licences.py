"""What licences allow: by their texts, of sets that are built, of rows that are trained on, and of weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monai_mimo.cli import main
from monai_mimo.engines import load_sets, prepare_model, training_data
from monai_mimo.errors import DataError, InputError, WeightsError
from monai_mimo.inference import MimoPredictor
from monai_mimo.licences import PERMISSIVE, UNKNOWN, strictest, use_of
from monai_mimo.mimoseg import by_licence
from monai_mimo.mimoseg.catalogue.licences import licence_of
from monai_mimo.mimoseg.describe.licences import source_licences
from monai_mimo.mimoseg.sources.cases import SourceSpec
from monai_mimo.models import Mimo
from monai_mimo.models.default_weights import SHIPPED
from monai_mimo.models.training_data import FILE, TrainingData
from monai_mimo.models.weights import save_weights

from .conftest import make_nano
from .mimoseg.small_source import small_source

DATA_LICENCE = Path(__file__).parent.parent / "bundles" / "mimo" / "docs" / "data_license.txt"
LEFT_OUT = {"octa_faz", "prostate158_mr", "carotid_us", "sarcoma_pet", "thyroid_gland_us_tg3k"}  # as in the Makefile


@pytest.mark.parametrize(
    ("licence", "use"),
    [
        *[(text, PERMISSIVE) for text in ("CC0", "CC0-1.0", "public domain (CC0)", "CC BY 4.0", "CC-BY-SA-4.0", "MIT")],
        *[(text, PERMISSIVE) for text in ("Apache-2.0", "CC BY-SA 4.0 and DbCL", "MIT in its repository", "CC BY 3.0")],
        *[(text, "non-commercial") for text in ("CC BY-NC 4.0", "CC-BY-NC-SA-4.0", "non-commercial research use")],
        *[(text, "research") for text in ("research use", "research and education", "for academic use")],
        *[(text, UNKNOWN) for text in ("", "unknown", "CC BY 4.0 (not checked)", "mixed", "open, to be cited")],
        *[
            (text, UNKNOWN)
            for text in ("CC BY-ND 4.0", "GPL-3.0", "the challenge's terms", "CC BY 4.0 and the terms of X")
        ],
    ],
)
def test_what_a_licence_allows(licence: str, use: str) -> None:
    assert use_of(licence) == use


def test_the_strictest_of_several() -> None:
    assert strictest(["CC0", "CC BY 4.0"]) == PERMISSIVE
    assert strictest(["CC0", "research use", "CC BY-NC 4.0"]) == "research"
    assert strictest(["CC0", "CC BY 4.0 (not checked)"]) == strictest([]) == UNKNOWN


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sets: one says its licence, one is known by its name, of one nobody knows it."""
    folder = tmp_path_factory.mktemp("sources")
    for number, name in enumerate(("mine", "kidney_mr_t2", "other")):
        small_source(folder / name, 6, 0, seed=number)
    file = folder / "mine" / "labels.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "licence": "CC BY-NC 4.0"}))
    return folder


EXPECTED = {"kidney_mr_t2": "CC BY 4.0", "mine": "CC BY-NC 4.0", "other": UNKNOWN}


@pytest.fixture(scope="module")
def built(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "set"
    assert main(["build", "--data", str(sources), "--perspectives", "1", "--workers", "1", "--out", str(out)]) == 0
    return out


def test_a_built_set_tells_them(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    report = json.loads((built / "dataset.json").read_text())
    assert {source["name"]: source["licence"] for source in report["sources"]} == EXPECTED
    card = (built / "README.md").read_text()
    assert all(f"| {licence} |" in card for licence in EXPECTED.values())
    assert main(["stats", str(built), "--out", str(tmp_path / "out")]) == 0
    assert "| mine         | CC BY-NC 4.0 | non-commercial |" in capsys.readouterr().out
    assert (tmp_path / "out" / "licences.csv").read_text().splitlines()[-1] == "all,,unknown"


def test_a_set_of_an_earlier_version_is_known_by_the_catalogue(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(
        '{"sources": [{"name": "kidney_mr_t2"}, {"name": "SA", "sets": {"ACDC": 1}}]}'
    )
    found = source_licences(tmp_path, ["kidney_mr_t2", "ACDC", "other"])
    assert found == {"kidney_mr_t2": "CC BY 4.0", "ACDC": licence_of("ACDC"), "other": UNKNOWN}
    assert licence_of("ACDC") != UNKNOWN
    (tmp_path / "dataset.json").write_text("[]")
    with pytest.raises(DataError, match=r"dataset\.json"):
        source_licences(tmp_path, ["other"])


def test_only_what_is_permissive_is_built(sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    command = ["build", "--data", str(sources), "--perspectives", "1", "--workers", "1", "--licence", "permissive"]
    assert main([*command, "--out", str(tmp_path / "set")]) == 0
    assert [s["name"] for s in json.loads((tmp_path / "set" / "dataset.json").read_text())["sources"]] == [
        "kidney_mr_t2"
    ]
    assert "left out: mine (licence: CC BY-NC 4.0)" in capsys.readouterr().err
    with pytest.raises(InputError, match="licence: found no set that is permissive"):
        by_licence([SourceSpec("other", sources / "other")], PERMISSIVE)
    with pytest.raises(InputError, match="licence: found 'free'"):
        by_licence([SourceSpec("other", sources / "other")], "free")


def test_only_what_is_permissive_is_trained_on(built: Path) -> None:
    folders = {"all": str(built)}
    for licence, names in ((None, set(EXPECTED)), ("non-commercial", {"kidney_mr_t2", "mine"})):
        rows = load_sets(folders, "train", licence=licence)
        assert set(rows["source"]) == names
        assert training_data(folders, rows).sets == {name: EXPECTED[name] for name in sorted(names)}
    rows = load_sets(folders, "train", left_out=["kidney_mr_t2", "nowhere"], licence="non-commercial")
    assert set(rows["source"]) == {"mine"}
    with pytest.raises(InputError, match="no source that is permissive"):
        load_sets(folders, "train", left_out=["kidney_mr_t2"], licence=PERMISSIVE)


def test_weights_that_are_free_for_any_use() -> None:
    learned = TrainingData.load(SHIPPED / "lite-permissive")
    assert learned.strictest == PERMISSIVE
    assert not LEFT_OUT & set(learned.sets)
    for source, licence in learned.sets.items():
        assert use_of(licence) == use_of(licence_of(source)) == PERMISSIVE


def test_weights_carry_what_they_learned_from(tmp_path: Path) -> None:
    first = save_weights(
        prepare_model(make_nano(), "cpu", learns_from=TrainingData({"a": "CC0", "b": "MIT"})), tmp_path / "1"
    )
    assert json.loads((first / FILE).read_text())["use"] == PERMISSIVE
    again = {"b": "research use", "c": "CC BY 4.0"}
    both = prepare_model(make_nano(), "cpu", {str(first): ["mask_decoder"]}, learns_from=TrainingData(again))
    kept = Mimo.from_pretrained(save_weights(both, tmp_path / "2")).training_data
    assert kept == TrainingData({"a": "CC0", "b": "research use", "c": "CC BY 4.0"})
    assert MimoPredictor.from_pretrained(tmp_path / "2").model_info["use"] == kept.strictest == "research"


def test_weights_that_do_not_tell_are_unknown(tmp_path: Path) -> None:
    folder = save_weights(make_nano(), tmp_path / "weights")
    assert not (folder / FILE).exists()
    assert Mimo.from_pretrained(folder).training_data.strictest == UNKNOWN
    (folder / FILE).write_text('{"sets": [{"name": "a"}]}')
    with pytest.raises(WeightsError, match=r"training_data\.json"):
        Mimo.from_pretrained(folder)


def test_the_shipped_weights_tell_the_truth() -> None:
    lite = TrainingData.load(SHIPPED / "lite")
    assert len(lite.sets) == 49
    assert not LEFT_OUT & lite.sets.keys()
    assert lite.strictest == UNKNOWN
    for name, licence in lite.sets.items():
        assert licence == licence_of(name), name
        assert f"    {name}: {licence}\n" in DATA_LICENCE.read_text()
    assert json.loads((SHIPPED / "lite" / FILE).read_text()) == lite.to_json()
