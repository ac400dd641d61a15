"""From a folder to cases: patterns, records, layouts, and faults that name file, found and expected."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from PIL import Image

from monai_mimo.errors import DataError, InputError, MimoError
from monai_mimo.mimoseg.catalogue import catalogue, find_record
from monai_mimo.mimoseg.catalogue.patterns import Pattern
from monai_mimo.mimoseg.sources.by_record import check_source
from monai_mimo.mimoseg.sources.cases import Case, Label, Source, SourceSpec
from monai_mimo.mimoseg.sources.discover import discover, open_source, parse_source
from monai_mimo.mimoseg.sources.read_case import read_case


def volume(path: Path, values: np.ndarray, affine: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, np.diag([1.0, 1, 2, 1]) if affine is None else affine), path)
    return path


def picture(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


IMAGE = np.random.default_rng(0).integers(1, 200, (16, 14, 5)).astype(np.int16)
MASK = np.zeros(IMAGE.shape, np.uint8)
MASK[3:10, 4:11, 1:4] = 1

RECORD = {
    "name": "own",
    "layouts": [
        {
            "images": "{patient}/{sequence}.nii.gz",
            "labels": [{"file": "{patient}/seg.nii.gz", "entities": {"tumor": [1], "edema": [2]}, "ignored": [4]}],
        }
    ],
    "series": [
        {"modality": "MR", "sequences": {"T1": "t1", "FLAIR": "fl"}, "entities": ["tumor"], "perspectives": [1, 2]},
        {
            "modality": "MR",
            "sequences": {"T2": "t2"},
            "where": {"patient": "p[0-9]"},
            "perspectives": [3],
            "axis": "coronal",
            "window": {"level": 50, "width": 20},
        },
    ],
}


def own(root: Path, record: dict = RECORD, patients: tuple[str, ...] = ("p1", "x2")) -> Path:
    for patient in patients:
        for sequence in ("t1", "t2", "fl", "pd"):
            volume(root / patient / f"{sequence}.nii.gz", IMAGE)
        volume(root / patient / "seg.nii.gz", MASK)
    (root / "mimoseg.yaml").write_text(yaml.safe_dump(record, sort_keys=False))
    return root


def open_folder(root: Path, name: str = "mine") -> Source:
    return open_source(SourceSpec(name, root))


def fault(case: Case) -> str:
    """The one line of the error that reading a case raises."""
    with pytest.raises(MimoError) as error:
        list(read_case(case, 3))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("pattern", "path", "fields"),
    [
        ("case_{p}/a.nii.gz", "case_01/a.nii.gz", {"p": "01"}),
        ("case_{p}/a.nii.gz", "case_01/b/a.nii.gz", None),
        ("case_{p}/a.nii.gz", "case_01/aXnii.gz", None),
        (r"{p:\d{2}}_{s:[a-z]+}.png", "12_ab.png", {"p": "12", "s": "ab"}),
        (r"{p:\d{2}}_{s:[a-z]+}.png", "123_ab.png", None),
        ("{p}/{p}_x.png", "a/a_x.png", {"p": "a"}),
        ("{p}/{p}_x.png", "a/b_x.png", None),
        ("**/{p}.png", "a.png", {"p": "a"}),
        ("**/{p}.png", "x/y z/ä.png", {"p": "ä"}),
        ("*/{p}.png", "x/y/a.png", None),
        ("a+(b)[c].*", "a+(b)[c].png", {}),
    ],
)
def test_patterns(pattern: str, path: str, fields: dict | None) -> None:
    assert Pattern(pattern).match(path) == fields
    if fields and "*" not in pattern:
        assert Pattern(pattern).fill(fields) == path


@pytest.mark.parametrize("pattern", ["{a", "{a b}", "{a:(}", "{}"])
def test_bad_patterns(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        Pattern(pattern)


def test_fills_and_expressions_of_another_pattern() -> None:
    pattern = Pattern("{p}_{e}.png", {"e": ["left", "left_lung"]})
    assert pattern.match("a_b_left_lung.png") == {"p": "a_b", "e": "left_lung"}
    assert pattern.match("a_b_right.png") is None
    assert Pattern("{a}{b}.png", like=Pattern("{a:[0-9]+}{b:(_x)?}.nii")).match("12.png") == {"a": "12", "b": ""}


def test_series_sequences_and_entities(tmp_path: Path) -> None:
    source = open_folder(own(tmp_path))
    cases = {(c.patient, c.sequence): c for c in source.cases}
    assert set(cases) == {("p1", "T1"), ("p1", "FLAIR"), ("p1", "T2"), ("x2", "T1"), ("x2", "FLAIR")}
    first, second = cases["p1", "T1"], cases["p1", "T2"]
    assert (list(first.labels), first.perspectives, first.plane, first.window) == (["tumor"], (1, 2), "axial", None)
    assert (list(second.labels), second.perspectives) == (["tumor", "edema"], (3,))
    assert (second.plane, second.window, second.source) == ("coronal", (50, 20), "mine")
    assert first.image == tmp_path / "p1" / "t1.nii.gz"
    assert str(second.labels["edema"]) == "seg.nii.gz:2"
    assert not source.notes


def test_cases_are_small_and_can_be_sent_to_a_worker(tmp_path: Path) -> None:
    [case, *_] = open_folder(own(tmp_path)).cases
    sent = pickle.dumps(case)
    assert pickle.loads(sent) == case
    assert len(sent) < 2000


def test_coronal_slices_in_their_window(tmp_path: Path) -> None:
    case = next(c for c in open_folder(own(tmp_path)).cases if c.sequence == "T2")
    shown = next(iter(read_case(case, 3)))
    assert shown.size == (5, 16)
    front = IMAGE[::-1, 13 - shown.number, ::-1].T.astype(float)
    expected = np.clip((front - 40) / 20, 0, 1) * 255
    np.testing.assert_allclose(np.asarray(Image.open(io.BytesIO(shown.encoded))), expected, atol=0.51)
    np.testing.assert_array_equal(shown.masks["tumor"], MASK[::-1, 13 - shown.number, ::-1].T > 0)
    assert shown.spacing_mm == (2, 1)


def test_channels_of_a_volume(tmp_path: Path) -> None:
    values = np.stack([IMAGE, IMAGE + 1000], axis=-1)
    volume(tmp_path / "imagesTr" / "a.nii.gz", values)
    volume(tmp_path / "labelsTr" / "a.nii.gz", MASK)
    about = {
        "modality": {"0": "T2", "1": "ADC"},
        "labels": {"0": "background", "1": "Gland"},
        "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    cases = open_folder(tmp_path).cases
    assert [(c.sequence, c.channel, c.modality, list(c.labels)) for c in cases] == [
        ("T2", 0, "MR", ["gland"]),
        ("ADC", 1, "MR", ["gland"]),
    ]
    for case in cases:
        assert len(list(read_case(case, 2))) == 2


def test_one_file_for_each_entity(tmp_path: Path) -> None:
    for patient in ("a", "b"):
        volume(tmp_path / "ct" / f"{patient}.nii.gz", IMAGE)
    for name in ("a_kidney_left", "a_kidney_right", "b_kidney_right"):
        volume(tmp_path / "seg" / f"{name}.nii.gz", MASK)
    entities = {"left kidney": ["kidney_left"], "kidney": ["kidney_left", "kidney_right"]}
    file = {"file": "seg/{patient}_{entity}.nii.gz", "entities": entities}
    record = {
        "name": "own",
        "layouts": [{"images": "ct/{patient}.nii.gz", "labels": [file]}],
        "series": [{"modality": "CT", "perspectives": [1]}],
    }
    (tmp_path / "mimoseg.yaml").write_text(yaml.safe_dump(record, sort_keys=False))
    first, second = open_folder(tmp_path).cases
    assert str(first.labels["kidney"]) == "a_kidney_left.nii.gz:nonzero; a_kidney_right.nii.gz:nonzero"
    assert len(list(read_case(first, 2))) == 2
    assert "b_kidney_left.nii.gz" in fault(second)
    file["optional"] = True
    (tmp_path / "mimoseg.yaml").write_text(yaml.safe_dump(record, sort_keys=False))
    second = open_folder(tmp_path).cases[1]
    assert second.labels["left kidney"] == Label(None)
    assert all("left kidney" in shown.absent for shown in read_case(second, 2))


def test_images_without_labels_are_left_out_with_a_note(tmp_path: Path) -> None:
    root = own(tmp_path)
    (root / "p1" / "seg.nii.gz").unlink()
    source = open_folder(root)
    assert {c.patient for c in source.cases} == {"x2"}
    assert any("3 images without labels" in note for note in source.notes)
    assert any("no image for MR (T2)" in note for note in source.notes)


def test_a_record_named_on_the_command_line(tmp_path: Path) -> None:
    root = own(tmp_path / "set")
    (root / "mimoseg.yaml").rename(tmp_path / "record.yaml")
    spec = parse_source(f"mine={root},record={tmp_path / 'record.yaml'}")
    assert len(open_source(spec).cases) == 5
    with pytest.raises(DataError, match="no known layout"):
        open_source(SourceSpec("mine", root))


def test_names_and_aliases() -> None:
    assert find_record("KiTS19") is find_record("kits") is catalogue()["KiTS"]
    assert find_record("ultrasound_nerve") is catalogue()["ultrasound_nerve"]
    assert find_record("no such set") is None


def test_a_tree_that_does_not_fit_its_record(tmp_path: Path) -> None:
    (tmp_path / "case_00000").mkdir()
    (tmp_path / "case_00000" / "imaging.nii.gz").touch()
    with pytest.raises(DataError, match=r"images, but no case_\{patient\}/segmentation.nii.gz"):
        open_folder(tmp_path, "KiTS")
    states = [check.state for check in check_source(catalogue()["KiTS"], tmp_path)]
    assert states == ["found", "missing"]


def test_names_with_spaces_and_unicode(tmp_path: Path) -> None:
    source = open_folder(own(tmp_path / "Größe 1 (β)", patients=("Jürgen Müller", "患者 2")))
    assert {c.patient for c in source.cases} == {"Jürgen Müller", "患者 2"}
    assert all(list(read_case(case, 1)) for case in source.cases)


def test_a_link_to_itself_ends(tmp_path: Path) -> None:
    root = own(tmp_path)
    (root / "p1" / "loop").symlink_to(root)
    assert len(open_folder(root).cases) == 5


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"extra": 1}, "extra"),
        ({"series": []}, "series"),
        ({"series": [{"modality": "a, b", "perspectives": [1]}]}, "modality"),
        ({"series": [{"modality": "CT", "perspectives": [1], "entities": ["liver"]}]}, "liver"),
        ({"series": [{"modality": "CT", "perspectives": [1], "where": {"site": "a"}}]}, "site"),
        ({"layouts": [{"images": "{a}.png", "labels": RECORD["layouts"][0]["labels"]}]}, "patient"),
        ({"layouts": [{"images": "{patient", "labels": RECORD["layouts"][0]["labels"]}]}, "brace"),
        ({"layouts": [{"images": "{patient}", "labels": [{"file": "a", "entities": {"b": ["c"]}}]}]}, "not a colour"),
        (
            {
                "layouts": [
                    {"images": "{patient}", "labels": [{"file": "a", "entities": {"b": [1]}, "options": {"x": 1}}]}
                ]
            },
            "no option 'x'",
        ),
    ],
)
def test_a_wrong_record_is_told_by_its_entry(tmp_path: Path, change: dict, found: str) -> None:
    with pytest.raises(DataError) as error:
        open_folder(own(tmp_path, {**RECORD, **change}))
    assert found in str(error.value)
    assert "mimoseg.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def first_case(root: Path) -> Case:
    return open_folder(own(root)).cases[0]


def test_truncated_gzip(tmp_path: Path) -> None:
    case = first_case(tmp_path)
    whole = case.image.read_bytes()
    case.image.write_bytes(whole[: len(whole) // 2])
    assert case.image.name in fault(case)
    others = open_folder(tmp_path).cases
    assert sum(bool(list(read_case(c, 1))) for c in others if c.image != case.image) == 4


def test_wrong_header(tmp_path: Path) -> None:
    case = first_case(tmp_path)
    case.image.write_bytes(gzip.compress(b"x" * 5000))
    assert case.image.name in fault(case)


def test_another_shape(tmp_path: Path) -> None:
    case = first_case(tmp_path)
    volume(tmp_path / "p1" / "seg.nii.gz", MASK[:8])
    text = fault(case)
    assert "seg.nii.gz" in text
    assert "[8, 14, 5]" in text
    assert "[16, 14, 5]" in text


def test_another_affine(tmp_path: Path) -> None:
    case = first_case(tmp_path)
    volume(tmp_path / "p1" / "seg.nii.gz", MASK, np.diag([1.0, 1, 3, 1]))
    assert "another affine" in fault(case)


def test_values_known_ignored_and_unknown(tmp_path: Path) -> None:
    case = first_case(tmp_path)
    mask = MASK.copy()
    mask[0, 0, 0], mask[0, 0, 1] = 4, 2
    volume(tmp_path / "p1" / "seg.nii.gz", mask)
    assert list(read_case(case, 1))
    mask[0, 0, 2] = 3
    volume(tmp_path / "p1" / "seg.nii.gz", mask)
    text = fault(case)
    assert "label value 3" in text
    assert "[1, 2, 4]" in text


def test_an_empty_mask_is_a_note(tmp_path: Path) -> None:
    case = first_case(tmp_path)
    volume(tmp_path / "p1" / "seg.nii.gz", MASK * 0)
    shown = list(read_case(case, 2))
    assert all(s.absent == ["tumor"] and not s.masks for s in shown)
    assert shown[0].notes == ["t1.nii.gz: no tumor"] or shown[0].notes == ["fl.nii.gz: no tumor"]


def test_masks_that_overlap_are_a_note(tmp_path: Path) -> None:
    picture(tmp_path / "i.png", np.full((20, 20), 90, np.uint8))
    mask = np.zeros((20, 20), np.uint8)
    mask[2:12, 2:12] = 1
    picture(tmp_path / "disc.png", mask)
    picture(tmp_path / "cup.png", np.roll(mask, 5))
    labels = {"disc": Label(tmp_path / "disc.png"), "cup": Label(tmp_path / "cup.png")}
    [shown] = read_case(Case("s", "p", "fundus", tmp_path / "i.png", labels), 1)
    assert shown.notes == ["i.png: disc and cup overlap on slice 0"]


def test_an_image_of_zeros(tmp_path: Path) -> None:
    case = first_case(tmp_path)
    volume(case.image, IMAGE * 0)
    assert "0 everywhere" in fault(case)


def test_a_missing_patient(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        picture(tmp_path / folder / "nameless.png", np.full((20, 20), 1, np.uint8))
    about = {"modality": "CT", "labels": {"1": "liver"}, "patient": "p([0-9]+)_"}
    (tmp_path / "labels.json").write_text(json.dumps(about))
    with pytest.raises(DataError, match="no patient in the name"):
        open_folder(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_paths_without_permission_of_a_plain_user(tmp_path: Path) -> None:
    case = first_case(tmp_path)
    case.image.chmod(0)
    assert "may not be read" in fault(case)


def test_paths_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root too: the system's refusal is played."""
    root = own(tmp_path)
    [case, *_] = open_folder(root).cases
    real = os.scandir

    def refuse(path: object) -> object:
        if Path(str(path)).name == "x2":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", refuse)
    source = open_folder(root)
    assert {c.patient for c in source.cases} == {"p1"}
    assert "x2: Permission denied" in source.notes

    def refuse_file(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse_file)
    assert "may not be read" in fault(case)


def test_discover_leaves_out_what_it_cannot_read(tmp_path: Path) -> None:
    own(tmp_path / "good")
    (tmp_path / "empty").mkdir()
    own(tmp_path / "bad", {"name": "x"})
    found, skipped = discover(tmp_path)
    assert [spec.name for spec in found] == ["good"]
    assert set(dict(skipped)) == {"empty", "bad"}


def sa_med2d(root: Path) -> Path:
    """Two slices of one KiTS volume, a BraTS slice, a picture, and sets that the catalogue does not have."""
    mask = np.zeros((24, 24), np.uint8)
    mask[3:12, 3:12] = 255
    kits, brats = "ct_00--KiTS--case_00001--x_0100", "mr_t1ce--BraTS2021--BraTS2021_00218--z_0141"
    pairs = {
        kits: ["0000_000", "0001_000", "0001_001"],
        kits.replace("0100", "0101"): ["0000_000"],
        brats: ["0000_000"],
        "mr_pd--BraTS2021--BraTS2021_00218--z_0141": ["0000_000"],
        "mr_00--ACDC--patient001_frame01--x_0006": ["0001_000"],
        "x_ray--other_set--1--2d_none": ["0000_000"],
        "odd name": [],
    }
    listed = {}
    for name, masks in pairs.items():
        picture(root / "images" / f"{name}.png", np.full((24, 24), 99, np.uint8))
        for number in masks:
            picture(root / "masks" / f"{name}--{number}.png", np.roll(mask, 9 * int(number[-1])))
        listed[f"images/{name}.png"] = [f"masks/{name}--{number}.png" for number in masks]
    (root / "SAMed2D_v1.json").write_text(json.dumps(listed))
    mapping = {
        "KiTS": {"kidney": "0000", "kidney_tumor": "0001", "union_kidney": "0002"},
        "BraTS2021": {"edema": "0000"},
        "ACDC": {"left ventricle": "0001"},
    }
    (root / "SAMed2D_v1_class_mapping_id.json").write_text(json.dumps(mapping))
    return root


def test_sa_med2d(tmp_path: Path) -> None:
    source = open_folder(sa_med2d(tmp_path))
    assert source.layout == "SA-Med2D-20M"
    kits, again, brats, acdc = source.cases
    assert (kits.source, kits.modality, kits.sequence, kits.perspectives) == ("KiTS", "CT", None, (3, 4))
    assert kits.patient == again.patient == "case_00001"
    assert (acdc.source, acdc.patient) == ("ACDC", "patient001")
    assert (brats.source, brats.sequence, brats.perspectives) == ("BraTS2021", "T1CE", (1, 2))
    [shown] = read_case(kits, 1)
    assert {entity: int(mask.sum()) for entity, mask in shown.masks.items()} == {"kidney": 81, "kidney tumor": 162}
    assert again.labels["kidney tumor"] == Label(None)
    notes = " ".join(source.notes)
    assert "other_set, which is not in the catalogue" in notes
    assert "BraTS2021, mr_pd" in notes
    assert "another form" in notes


def test_a_damaged_sa_med2d(tmp_path: Path) -> None:
    (sa_med2d(tmp_path) / "SAMed2D_v1.json").write_text("{")
    with pytest.raises(DataError, match=r"SAMed2D_v1\.json"):
        open_folder(tmp_path)


@pytest.mark.parametrize("text", ["a=b,record=", "a=b,recrod=c"])
def test_bad_options(text: str) -> None:
    with pytest.raises(InputError):
        parse_source(text)
