"""labels.json and names of modalities: what is read, what is refused and how."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from monai_mimo.errors import DataError, InputError
from monai_mimo.mimoseg.builder.build import build
from monai_mimo.mimoseg.builder.plan import check_splits, plan_build, split_cases
from monai_mimo.mimoseg.categories import modality_name
from monai_mimo.mimoseg.describe.statistics import count_samples, open_splits
from monai_mimo.mimoseg.load import load_mimoseg
from monai_mimo.mimoseg.sources.cases import SourceSpec
from monai_mimo.mimoseg.sources.discover import open_source, parse_source
from monai_mimo.mimoseg.sources.folders import FolderLabels, parse_labels
from monai_mimo.mimoseg.sources.labelled import LabelledImage, write_labelled
from monai_mimo.mimoseg.sources.read_case import read_case


def folder(root: Path, masks: dict[str, np.ndarray], about: dict) -> Path:
    """ROOT/images and ROOT/masks of these names, with labels.json."""
    for name, mask in masks.items():
        for part, pixels in (("images", np.full(mask.shape[:2], 90, np.uint8)), ("masks", mask)):
            (root / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / part / f"{name}.png")
    (root / "labels.json").write_text(json.dumps(about))
    return root


def two_parts(one: object, other: object) -> np.ndarray:
    """Values or colours in the left and in the right upper corner."""
    mask = np.zeros((20, 30, *np.shape(one)), np.uint8)
    mask[:8, :8], mask[:8, 20:] = one, other
    return mask


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("CT", "CT"),
        ("ct", "CT"),
        ("MRI", "MR"),
        ("Xray", "X-ray"),
        ("X Ray", "X-ray"),
        ("Ultrasound", "ultrasound"),
        (" OCT ", "OCT"),
        ("photograph", "photograph"),
        ("Mikroskopie (HE)", "Mikroskopie (HE)"),
    ],
)
def test_names_of_modalities(given: str, name: str) -> None:
    assert modality_name(given) == name


@pytest.mark.parametrize("given", ["", "  ", "a, b", "two\nlines", "x" * 41, "-", "=x"])
def test_what_is_no_name_of_a_modality(given: str) -> None:
    with pytest.raises(ValueError, match="not the name of a modality"):
        modality_name(given)


def test_a_modality_of_ones_own_is_counted_by_its_name(tmp_path: Path) -> None:
    masks = {f"p{n}": two_parts(1, 1) for n in range(4)}
    for name in ("photograph", "OCT"):
        folder(tmp_path / name, masks, {"modality": name, "labels": {"1": "wound"}})
    specs = [parse_source(f"{name}={tmp_path / name}") for name in ("photograph", "OCT")]
    build(specs, tmp_path / "out", perspectives=(1, 2), progress=False)
    assert set(load_mimoseg(tmp_path / "out")["modality"]) == {"photograph", "OCT"}
    assert set(count_samples(open_splits(tmp_path / "out")).modalities) == {"photograph", "OCT"}


def test_a_modality_of_ones_own_on_the_command_line_and_in_a_record(tmp_path: Path) -> None:
    assert parse_source("a=b,label=wound,modality=thermography").modality == "thermography"
    with pytest.raises(InputError, match=r"modality '-'; expected CT, .* or another name"):
        parse_source("a=b,label=wound,modality=-")
    root = folder(tmp_path, {"p": two_parts(1, 1)}, {})
    record = "{name: own, layouts: [{images: 'images/{patient}.png', labels: [{file: 'masks/{patient}.png', "
    record += "entities: {wound: [1]}}]}], series: [{modality: mammography, perspectives: [1]}]}"
    (root / "mimoseg.yaml").write_text(record)
    [case] = open_source(SourceSpec("own", root)).cases
    assert case.modality == "mammography"


@pytest.mark.parametrize("keys", [("1", "2"), ("#ff0000", "#0000ff"), ("1", "nonzero")])
def test_values_of_one_name_are_united(tmp_path: Path, keys: tuple[str, str]) -> None:
    colours = keys[0].startswith("#")
    mask = two_parts((255, 0, 0), (0, 0, 255)) if colours else two_parts(1, 2)
    root = folder(tmp_path, {"p": mask}, {"modality": "CT", "labels": dict.fromkeys(keys, "lesion")})
    [case] = open_source(SourceSpec("s", root)).cases
    [shown] = read_case(case, 1)
    np.testing.assert_array_equal(shown.masks["lesion"], mask.reshape(20, 30, -1).any(axis=2))


def test_values_of_one_name_are_united_in_the_decathlons_layout(tmp_path: Path) -> None:
    for part in ("imagesTr", "labelsTr"):
        (tmp_path / part).mkdir()
    about = {
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "Lesion", "2": "lesion", "3": "liver"},
        "training": [{"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    [case] = open_source(SourceSpec("s", tmp_path)).cases
    assert {entity: label.values for entity, label in case.labels.items()} == {"lesion": (1, 2), "liver": (3,)}


def test_a_background_is_no_entity() -> None:
    assert FolderLabels(modality="CT", labels={"0": "background", "1": "liver"}).labels == {"1": "liver"}


def test_blocks_are_contiguous_patients(tmp_path: Path) -> None:
    masks = {f"frame{n}": two_parts(1, 1) for n in range(12)}
    root = folder(tmp_path, masks, {"modality": "ultrasound", "labels": {"1": "nerve"}, "blocks": 5})
    patients = {case.image.stem: case.patient for case in open_source(SourceSpec("s", root)).cases}
    in_order = [patients[f"frame{n}"] for n in range(12)]  # "frame10" comes after "frame9"
    assert len(set(in_order)) == 5
    assert in_order == sorted(in_order)
    assert {in_order.count(patient) for patient in in_order} == {2, 3}


def test_more_blocks_than_images(tmp_path: Path) -> None:
    about = {"modality": "ultrasound", "labels": {"1": "nerve"}, "blocks": 5}
    root = folder(tmp_path, {"a": two_parts(1, 1)}, about)
    with pytest.raises(DataError, match=r"images: found 1 images; expected at least as many as the 5 blocks"):
        open_source(SourceSpec("s", root))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"modality": None}, "modality"),
        ({"labels": {}}, "labels"),
        ({"labels": {"0": "background"}}, "only the value 0"),
        ({"labels": {"1": ""}}, "labels.1"),
        ({"labels": ["liver"]}, "labels"),
        ({"labels": {"one": "liver"}}, "'one'"),
        ({"labels": {"1": "liver", "#ff0000": "spleen"}}, "colours and other values"),
        ({"patient": "p("}, "patient"),
        ({"patient": "p"}, "0 groups"),
        ({"patient": "(p)", "blocks": 3}, "both patient and blocks"),
        ({"blocks": 0}, "blocks"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_faults_of_labels_json(change: dict, found: str) -> None:
    with pytest.raises(DataError) as error:
        parse_labels({"modality": "CT", "labels": {"1": "liver"}, **change}, Path("labels.json"))
    assert found in error.value.found
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("values", [None, [], "text", 3])
def test_a_labels_json_that_is_no_object(values: object) -> None:
    with pytest.raises(DataError, match=r"labels\.json"):
        parse_labels(values, Path("labels.json"))


def test_an_empty_split_stops_a_build_unless_it_was_asked_for(tmp_path: Path) -> None:
    masks = {f"p{n}_{m}": two_parts(1, 1) for n in range(2) for m in range(5)}
    about = {"modality": "CT", "labels": {"1": "liver"}, "patient": "(p[0-9])"}
    spec = SourceSpec("s", folder(tmp_path / "set", masks, about))
    expected = r"split 80:10:10: found 2 patients, and nobody for validation and test; expected .*--allow-empty-splits"
    with pytest.raises(DataError, match=expected):
        build([spec], tmp_path / "out", perspectives=(1,), progress=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set"]
    for name, given in (("a", {"ratio": "100:0:0"}), ("b", {"allow_empty_splits": True})):
        report = build([spec], tmp_path / name, perspectives=(1,), progress=False, **given)
        assert report["patients"] == {"train": 2, "validation": 0, "test": 0}


def test_a_set_with_published_splits_needs_no_others(tmp_path: Path) -> None:
    masks = {f"p{n}": two_parts(1, 1) for n in range(2)}
    root = folder(tmp_path / "set", masks, {"modality": "CT", "labels": {"1": "liver"}})
    cases = [replace(case, split="train") for case in open_source(SourceSpec("s", root)).cases]
    check_splits(cases, split_cases(cases, "80:10:10", 0), "80:10:10")


def test_volumes_named_by_uid_are_as_many_patients(tmp_path: Path) -> None:
    for part in ("imagesTr", "labelsTr"):
        (tmp_path / part).mkdir()
    uids = [f"1.3.6.1.4.1.14519.5.2.{n}" for n in range(10)]
    names = [f"{uid}{suffix}" for uid, suffix in zip(uids, [".nii.gz", ".nii", ".NII.GZ", ".mha", ".nrrd"] * 2)]
    about = {
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "liver"},
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    cases = open_source(SourceSpec("s", tmp_path)).cases
    assert [case.patient for case in cases] == uids
    plan = plan_build([SourceSpec("s", tmp_path)])
    assert {plan.split(case) for case in plan.cases} == {"train", "validation", "test"}


@pytest.mark.parametrize("part", ["images", "masks"])
def test_two_files_of_one_name(tmp_path: Path, part: str) -> None:
    root = folder(tmp_path, {"a.1": two_parts(1, 1)}, {"modality": "CT", "labels": {"1": "liver"}})
    Image.fromarray(two_parts(1, 1)).save(root / part / "a.1.bmp")
    with pytest.raises(DataError, match=rf"{part}: found two files of one name, a\.1\.bmp and a\.1\.png"):
        open_source(SourceSpec("s", root))


def test_the_two_files_of_a_pair_are_one_image(tmp_path: Path) -> None:
    root = tmp_path
    for part in ("images", "masks"):
        (root / part).mkdir()
        values = np.full((20, 18, 3), 1, np.int16)
        nib.save(nib.Nifti1Pair(values, np.eye(4)), root / part / "a.hdr")
    (root / "labels.json").write_text(json.dumps({"modality": "MR", "labels": {"1": "liver"}}))
    [case] = open_source(SourceSpec("s", root)).cases
    assert len(list(read_case(case, 2))) == 2


def test_two_saved_labels_of_one_name_are_united(tmp_path: Path) -> None:
    labels = np.zeros((20, 18, 3), np.uint8)
    labels[2:8, 2:8], labels[10:16, 2:8] = 1, 2
    for name, values in (("image", labels + np.uint8(9)), ("labels", labels)):
        nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / f"{name}.nii.gz")
    names = {"Liver": 1, "liver ": 2, "background": 0}
    saved = LabelledImage(tmp_path / "image.nii.gz", tmp_path / "labels.nii.gz", names)
    [case] = open_source(SourceSpec("s", write_labelled([saved], tmp_path / "set"))).cases
    for shown in read_case(case, 3):
        assert shown.masks["liver"].sum() == (labels[..., 0] > 0).sum()
