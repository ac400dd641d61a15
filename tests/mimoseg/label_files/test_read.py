"""Readers of label files against files that other libraries wrote and masks that loops drew."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset

from monai_mimo.errors import DataError, InputError
from monai_mimo.mimoseg.label_files import read_masks
from monai_mimo.mimoseg.label_files.label_tables import decode_runs
from monai_mimo.mimoseg.sources.cases import Case, Label, Reader
from monai_mimo.phantom.writer import write_series
from monai_mimo.transforms import MedicalImage

SIZE = (12, 9)  # rows, columns


def disc(y: float, x: float, radius: float, size: tuple[int, int] = SIZE) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def picture(folder: Path, name: str = "image.png") -> Path:
    Image.fromarray(np.full(SIZE, 90, np.uint8)).save(folder / name)
    return folder / name


def masks_of(image: Path, labels: dict[str, Label]) -> dict[str, np.ndarray]:
    """entity -> bool [n, h, w]."""
    case = Case("set", "patient", "CT", image, labels)
    found = read_masks(case, MedicalImage.open(image))
    for masks in found.values():
        np.testing.assert_array_equal(masks.areas, [masks[k].sum() for k in range(len(masks.areas))])
    return {entity: np.stack([m[k] for k in range(len(m.areas))]) for entity, m in found.items()}


def options(**given: object) -> tuple:
    return tuple(given.items())


def volume(folder: Path, labels: np.ndarray, dtype: type = np.uint8) -> tuple[Path, Path]:
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    nib.save(nib.Nifti1Image(np.arange(labels.size, dtype=np.int16).reshape(labels.shape), affine), folder / "i.nii.gz")
    nib.save(nib.Nifti1Image(labels.astype(dtype), affine), folder / "l.nii.gz")
    return folder / "i.nii.gz", folder / "l.nii.gz"


def shown(mask: np.ndarray) -> np.ndarray:
    """A mask on the voxels of a RAS file, as axial slices are shown."""
    return mask[::-1, ::-1].transpose(2, 1, 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_values_of_any_type(tmp_path: Path, dtype: type) -> None:
    labels = np.random.default_rng(0).integers(0, 4, (6, 5, 4))
    labels[..., 2] = 0
    image, file = volume(tmp_path, labels, dtype)
    reader = Reader(known=(1, 2, 3))
    found = masks_of(image, {"a": Label(file, 1, reader), "b": Label(file, (2, 3), reader), "c": Label(None)})
    np.testing.assert_array_equal(found["a"], shown(labels == 1))
    np.testing.assert_array_equal(found["b"], shown((labels == 2) | (labels == 3)))
    assert not found["c"].any()


def test_values_below_zero_and_large_ones(tmp_path: Path) -> None:
    labels = np.array([0, -1, 7, 70_000] * 6).reshape(4, 3, 2)
    image, file = volume(tmp_path, labels, np.int32)
    found = masks_of(image, {"a": Label(file, -1), "b": Label(file, 70_000), "c": Label(file, 7)})
    for entity, value in (("a", -1), ("b", 70_000), ("c", 7)):
        np.testing.assert_array_equal(found[entity], shown(labels == value))


@pytest.mark.parametrize(
    ("value", "dtype", "found"), [(5, np.uint8, "label value 5"), (0.5, np.float32, "label value 0.5")]
)
def test_a_value_that_stands_for_nothing(tmp_path: Path, value: float, dtype: type, found: str) -> None:
    labels = np.zeros((4, 3, 2))
    labels[1, 1, 1] = value
    image, file = volume(tmp_path, labels, dtype)
    with pytest.raises(DataError, match=found) as error:
        masks_of(image, {"a": Label(file, 1, Reader(known=(1, 2)))})
    assert "l.nii.gz" in str(error.value)


def test_readers_must_agree(tmp_path: Path) -> None:
    image = picture(tmp_path)
    drawn = [disc(5, 3 + shift, 3) for shift in range(3)]
    for number, mask in enumerate(drawn):
        Image.fromarray(mask.astype(np.uint8) * (number + 1)).save(tmp_path / f"{number}.png")
    for agree in (1, 2, 3):
        reader = Reader(options=options(agree=agree))
        first, *others = [Label(tmp_path / f"{n}.png", None, reader) for n in range(3)]
        found = masks_of(image, {"nodule": Label(first.path, None, reader, tuple(others))})
        np.testing.assert_array_equal(found["nodule"][0], sum(m.astype(int) for m in drawn) >= agree)


def test_masks_that_were_stored_with_loss(tmp_path: Path) -> None:
    big = disc(60, 40, 30, (120, 90))
    Image.fromarray(np.full(big.shape, 9, np.uint8)).save(tmp_path / "image.png")
    Image.fromarray(big.astype(np.uint8) * 255).save(tmp_path / "mask.jpg", quality=60)
    found = masks_of(
        tmp_path / "image.png", {"a": Label(tmp_path / "mask.jpg", None, Reader(options=options(above=127)))}
    )
    assert (found["a"][0] != big).mean() < 0.01
    np.testing.assert_array_equal(found["a"][0], np.asarray(Image.open(tmp_path / "mask.jpg")) > 127)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours(tmp_path: Path, mode: str) -> None:
    image = picture(tmp_path)
    pixels = np.zeros((*SIZE, 3), np.uint8)
    a, b = disc(4, 4, 2), disc(9, 6, 2)
    pixels[a], pixels[b] = (255, 0, 0), (16, 32, 64)
    out = Image.fromarray(pixels)
    out = out.quantize(4) if mode == "P" else out.convert(mode)
    out.save(tmp_path / "mask.png")
    pixels = np.asarray(out.convert("RGB"))
    found = masks_of(
        image, {"a": Label(tmp_path / "mask.png", "#ff0000"), "b": Label(tmp_path / "mask.png", "#102040")}
    )
    np.testing.assert_array_equal(found["a"][0], (pixels == (255, 0, 0)).all(axis=2))
    np.testing.assert_array_equal(found["b"][0], (pixels == (16, 32, 64)).all(axis=2))
    assert found["a"].any()
    with pytest.raises(DataError, match="colour #"):
        masks_of(image, {"a": Label(tmp_path / "mask.png", "#ff0000")})
    near = Reader(options=options(tolerance=20))
    found = masks_of(image, {"a": Label(tmp_path / "mask.png", "#f50a05", near)})
    np.testing.assert_array_equal(found["a"][0], (pixels == (255, 0, 0)).all(axis=2))


def runs_of(mask: np.ndarray, start: int, relative: bool, columns: bool) -> str:
    """A code by walking over the pixels one by one."""
    order = [(y, x) for x in range(mask.shape[1]) for y in range(mask.shape[0])]
    if not columns:
        order = [(y, x) for y in range(mask.shape[0]) for x in range(mask.shape[1])]
    out, last, number = [], 0, 0
    while number < len(order):
        length = 0
        while number + length < len(order) and mask[order[number + length]]:
            length += 1
        if length:
            out += [number - last if relative else number + start, length]
            last = number + length
        number += max(length, 1)
    return " ".join(map(str, out))


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))), st.integers(0, 1), st.booleans(), st.booleans())
def test_runs(mask: np.ndarray, start: int, relative: bool, columns: bool) -> None:
    code = runs_of(mask, start, relative, columns)
    np.testing.assert_array_equal(decode_runs(code, mask.shape, start, relative, columns), mask)


def test_a_code_by_hand() -> None:
    """Of the 3 x 2 pixels numbered 1 2 3 down the first column and 4 5 6 down the second, pixels 2, 3 and 5."""
    expected = np.array([[0, 0], [1, 1], [1, 0]], dtype=bool)
    np.testing.assert_array_equal(decode_runs("2 2 5 1", (3, 2)), expected)
    np.testing.assert_array_equal(decode_runs("1 2 1 1", (3, 2), start=0, relative=True), expected)


def test_tables(tmp_path: Path) -> None:
    image = picture(tmp_path)
    a, b = disc(4, 4, 2), disc(8, 5, 2)
    rows = [("one", runs_of(a, 0, True, True)), ("one", runs_of(b, 0, True, True)), ("two", "-1")]
    (tmp_path / "t.csv").write_text("ImageId, EncodedPixels\n" + "".join(f"{i}, {code}\n" for i, code in rows))
    siim = options(start=0, relative=True)
    for key, expected in (("one", a | b), ("two", a & False)):
        found = masks_of(image, {"x": Label(tmp_path / "t.csv", None, Reader("rle_csv", None, siim, key))})
        np.testing.assert_array_equal(found["x"][0], expected)
    with pytest.raises(DataError, match="no row of 'three'"):
        masks_of(image, {"x": Label(tmp_path / "t.csv", None, Reader("rle_csv", None, siim, "three"))})


def test_tables_with_a_column_of_labels(tmp_path: Path) -> None:
    image = picture(tmp_path)
    a, b = disc(4, 4, 2), disc(8, 5, 2)
    lines = [f"i,large_bowel,{runs_of(a, 1, False, False)}", f"i,stomach,{runs_of(b, 1, False, False)}", "i,spleen,"]
    (tmp_path / "t.csv").write_text("\n".join(["id,class,segmentation", *lines]))
    reader = Reader("rle_csv", None, options(image="id", rle="segmentation", entity="class", order="rows"), key="i")
    names = {"colon": "large_bowel", "stomach": "stomach", "spleen": "spleen"}
    found = masks_of(image, {entity: Label(tmp_path / "t.csv", name, reader) for entity, name in names.items()})
    np.testing.assert_array_equal(found["colon"][0], a)
    np.testing.assert_array_equal(found["stomach"][0], b)
    assert not found["spleen"].any()


@pytest.mark.parametrize("code", ["1", "0 3", "100 20", "3 0", "x y"])
def test_codes_that_do_not_fit(tmp_path: Path, code: str) -> None:
    (tmp_path / "t.csv").write_text(f"ImageId,EncodedPixels\none,{code}\n")
    with pytest.raises(DataError, match="row of 'one'"):
        masks_of(picture(tmp_path), {"x": Label(tmp_path / "t.csv", None, Reader("rle_csv", key="one"))})


def test_a_table_without_the_column(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="ImageId"):
        masks_of(picture(tmp_path), {"x": Label(tmp_path / "t.csv", None, Reader("rle_csv", key="1"))})


TRIANGLE = [(1.1, 1.2), (8.3, 2.1), (3.2, 10.8)]  # no edge through the centre of a pixel


def triangle() -> np.ndarray:
    """Pixels whose centre is on the inner side of all three edges."""
    out = np.zeros(SIZE, dtype=bool)
    for y, x in np.ndindex(SIZE):
        sides = []
        for (x0, y0), (x1, y1) in zip(TRIANGLE, [*TRIANGLE[1:], TRIANGLE[0]]):
            sides.append((x1 - x0) * (y + 0.5 - y0) - (y1 - y0) * (x + 0.5 - x0))
        out[y, x] = all(side > 0 for side in sides)
    return out


def test_polygons(tmp_path: Path) -> None:
    image = picture(tmp_path)
    corners = [list(point) for point in TRIANGLE]
    (tmp_path / "labelme.json").write_text(json.dumps({"shapes": [{"label": "nerve", "points": corners}]}))
    (tmp_path / "coco.json").write_text(
        json.dumps(
            {
                "images": [{"id": 7, "file_name": "sub/image.png"}, {"id": 8, "file_name": "other.png"}],
                "categories": [{"id": 3, "name": "nerve"}, {"id": 4, "name": "vessel"}],
                "annotations": [
                    {"image_id": 7, "category_id": 3, "segmentation": [[v for p in TRIANGLE for v in p]]},
                    {"image_id": 7, "category_id": 4, "segmentation": {"size": list(SIZE), "counts": [1, 2, 105]}},
                    {"image_id": 8, "category_id": 3, "segmentation": [[0, 0, 9, 0, 9, 9]]},
                ],
            }
        )
    )
    points = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in TRIANGLE)
    (tmp_path / "labelme.xml").write_text(
        f"<annotation><object><name>nerve</name><polygon>{points}</polygon></object></annotation>"
    )
    vertices = "".join(f'<Coordinate X="{x}" Y="{y}"/>' for x, y in TRIANGLE)
    (tmp_path / "asap.xml").write_text(
        f'<A><Annotation PartOfGroup="nerve"><Coordinates>{vertices}</Coordinates></Annotation></A>'
    )
    asap = options(region=".//Annotation", name="@PartOfGroup", point="Coordinates/Coordinate", x="@X", y="@Y")
    for name, reader in {
        "labelme.json": Reader("polygons_json"),
        "coco.json": Reader("polygons_json"),
        "labelme.xml": Reader("polygons_xml"),
        "asap.xml": Reader("polygons_xml", None, asap),
    }.items():
        found = masks_of(
            image, {"n": Label(tmp_path / name, "nerve", reader), "v": Label(tmp_path / name, "vessel", reader)}
        )
        np.testing.assert_array_equal(found["n"][0], triangle(), err_msg=name)
        assert found["v"].sum() == (2 if name == "coco.json" else 0)


@pytest.mark.parametrize("text", ["{", "[1]", '{"shapes": [{"label": "a"}]}', "<a>", "<a><object/></a>"])
def test_damaged_outlines(tmp_path: Path, text: str) -> None:
    kind = "xml" if text.startswith("<") else "json"
    (tmp_path / "outline").write_text(text)
    with pytest.raises(DataError, match="outline"):
        masks_of(picture(tmp_path), {"a": Label(tmp_path / "outline", None, Reader(f"polygons_{kind}"))})


def test_points(tmp_path: Path) -> None:
    image, _ = volume(tmp_path, np.zeros((10, 9, 4)))
    (tmp_path / "p.csv").write_text("3,4,1,1\n8,2,3,0\n\n0,0,0,1\n")
    found = masks_of(image, {"vessel": Label(tmp_path / "p.csv", 1, Reader("points_csv", None, options(radius=1)))})
    expected = np.zeros((10, 9, 4), dtype=bool)
    for x, y, z in [(3, 4, 1), (2, 4, 1), (4, 4, 1), (3, 3, 1), (3, 5, 1), (0, 0, 0), (1, 0, 0), (0, 1, 0)]:
        expected[x, y, z] = True
    np.testing.assert_array_equal(found["vessel"], shown(expected))
    (tmp_path / "p.csv").write_text("30,4,1,1\n")
    with pytest.raises(DataError, match="row 1"):
        masks_of(image, {"vessel": Label(tmp_path / "p.csv", 1, Reader("points_csv"))})


@pytest.fixture
def series(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A CT series, oblique in its plane, and a mask on its voxels [x, y, z]."""
    turn = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-0.8, -0.9, 2.5])
    affine[:3, 3] = (30, 40, -50)
    write_series(tmp_path / "ct", np.random.default_rng(0).integers(-500, 500, (20, 16, 5)), affine, "P", 0)
    mask = np.zeros((20, 16, 5), dtype=bool)
    mask[4:11, 5:9, 1:4] = True
    mask[6:8, 6:8, 2] = False
    return tmp_path / "ct", mask


def test_dicom_seg_by_highdicom(tmp_path: Path, series: tuple[Path, np.ndarray]) -> None:
    highdicom = pytest.importorskip("highdicom")
    folder, mask = series
    files = sorted((pydicom.dcmread(f) for f in folder.iterdir()), key=lambda d: float(d.ImagePositionPatient[2]))
    code = highdicom.sr.CodedConcept("10200004", "SCT", "Liver")

    def segment(number: int, label: str) -> object:
        return highdicom.seg.SegmentDescription(
            number, label, code, code, highdicom.seg.SegmentAlgorithmTypeValues.MANUAL
        )

    other = np.roll(mask, 3, axis=0)
    pixels = np.stack([mask, other], axis=-1).transpose(2, 1, 0, 3).astype(np.uint8)
    seg = highdicom.seg.Segmentation(
        files,
        pixels,
        "BINARY",
        [segment(1, "Liver"), segment(2, "Spleen")],
        "2.25.1",
        1,
        "2.25.2",
        1,
        "m",
        "n",
        "v",
        "1",
    )
    seg.save_as(tmp_path / "seg.dcm")
    reader = Reader("dicom_seg")
    labels = {"liver": Label(tmp_path / "seg.dcm", "liver", reader), "spleen": Label(tmp_path / "seg.dcm", 2, reader)}
    found = masks_of(folder, labels)
    display = MedicalImage.open(folder).to_display
    np.testing.assert_array_equal(found["liver"], display(mask))
    np.testing.assert_array_equal(found["spleen"], display(other))
    with pytest.raises(DataError, match="Spleen"):
        masks_of(folder, {"x": Label(tmp_path / "seg.dcm", "kidney", reader)})


@pytest.mark.parametrize("greatest", [255, 200, 7])
def test_a_fractional_seg_is_cut_at_a_half(tmp_path: Path, series: tuple[Path, np.ndarray], greatest: int) -> None:
    highdicom = pytest.importorskip("highdicom")
    folder, mask = series
    files = sorted((pydicom.dcmread(f) for f in folder.iterdir()), key=lambda d: float(d.ImagePositionPatient[2]))
    code = highdicom.sr.CodedConcept("10200004", "SCT", "Liver")
    manual = highdicom.seg.SegmentAlgorithmTypeValues.MANUAL
    about = highdicom.seg.SegmentDescription(1, "Liver", code, code, manual)
    chances = np.where(mask, 0.55, 0.04)
    chances[:3] = 0.4
    seg = highdicom.seg.Segmentation(
        files,
        chances.transpose(2, 1, 0)[..., None].astype(np.float32),
        "FRACTIONAL",
        [about],
        "2.25.1",
        1,
        "2.25.2",
        1,
        "m",
        "n",
        "v",
        "1",
        max_fractional_value=greatest,
    )
    seg.save_as(tmp_path / "seg.dcm")
    found = masks_of(folder, {"liver": Label(tmp_path / "seg.dcm", "liver", Reader("dicom_seg"))})
    np.testing.assert_array_equal(found["liver"], MedicalImage.open(folder).to_display(mask))


def write_rtstruct(path: Path, contours: dict[str, list[np.ndarray]]) -> None:
    """Name -> contours [n, 3] in LPS millimetres."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    meta.MediaStorageSOPInstanceUID = "2.25.5"
    dataset = pydicom.dataset.FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, "2.25.5"
    rois, outlines = [], []
    for number, (name, lines) in enumerate(contours.items(), 1):
        roi, outline = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        outline.ReferencedROINumber = number
        parts = []
        for line in lines:
            part = Dataset()
            part.ContourGeometricType, part.NumberOfContourPoints = "CLOSED_PLANAR", len(line)
            part.ContourData = [f"{v:.4f}" for v in line.ravel()]
            parts.append(part)
        outline.ContourSequence = parts
        rois.append(roi)
        outlines.append(outline)
    dataset.StructureSetROISequence, dataset.ROIContourSequence = rois, outlines
    pydicom.dcmwrite(path, dataset)


def test_rtstruct(tmp_path: Path, series: tuple[Path, np.ndarray]) -> None:
    """Outlines half a voxel outside of the mask, and one around its hole."""
    folder, mask = series
    image = MedicalImage.open(folder)

    def outline(x0: float, x1: float, y0: float, y1: float, z: int) -> np.ndarray:
        corners = np.array([(x0, y0, z, 1), (x1, y0, z, 1), (x1, y1, z, 1), (x0, y1, z, 1)], dtype=float)
        return (corners @ image.affine.T)[:, :3] * (-1, -1, 1)

    lines = [outline(3.5, 10.5, 4.5, 8.5, z) for z in (1, 2, 3)] + [outline(5.5, 7.5, 5.5, 7.5, 2)]
    write_rtstruct(tmp_path / "rt.dcm", {"GTV": lines, "Body": []})
    found = masks_of(folder, {"tumor": Label(tmp_path / "rt.dcm", "GTV", Reader("rtstruct"))})
    np.testing.assert_array_equal(found["tumor"], image.to_display(mask))
    with pytest.raises(DataError, match="GTV"):
        masks_of(folder, {"x": Label(tmp_path / "rt.dcm", "heart", Reader("rtstruct"))})
    write_rtstruct(tmp_path / "off.dcm", {"GTV": [outline(3, 9, 4, 8, 2) + np.array([0, 0, 1])]})
    with pytest.raises(DataError, match="beside the slices"):
        masks_of(folder, {"x": Label(tmp_path / "off.dcm", "GTV", Reader("rtstruct"))})


@pytest.mark.parametrize("kind", ["dicom_seg", "rtstruct"])
def test_dicom_of_another_kind(tmp_path: Path, series: tuple[Path, np.ndarray], kind: str) -> None:
    folder, _ = series
    other = next(folder.iterdir())
    with pytest.raises(DataError, match="DICOM of the class"):
        masks_of(folder, {"x": Label(other, None, Reader(kind))})
    (tmp_path / "x.dcm").write_text("no DICOM")
    with pytest.raises(InputError):
        masks_of(folder, {"x": Label(tmp_path / "x.dcm", None, Reader(kind))})


def test_a_label_tells_where_it_comes_from() -> None:
    assert str(Label(Path("a/b.nii.gz"), 3)) == "b.nii.gz:3"
    assert str(Label(Path("b.png"))) == "b.png:nonzero"
    assert str(Label(None)) == ":nonzero"
    assert str(Label(Path("b"), (1, 4), also=(Label(Path("c"), "#ff0000"),))) == "b:1+4; c:#ff0000"
