"""DICOM SEGs that come from elsewhere and go back: nothing is lost where segments overlap, and frames keep their places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from lib.dicom_seg import read_seg, write_seg
from lib.request_limits import Limits
from lib.study_image import open_study_image
from monai_mimo.mimoseg.label_files import read_masks
from monai_mimo.mimoseg.sources.cases import SourceSpec
from monai_mimo.mimoseg.sources.labelled import OVERLAP, LabelledImage, labelled_cases, write_labelled
from monai_mimo.transforms import MedicalImage

from .make_dicom import write_frames, write_series

AFFINE = np.array([[-1.0, 0, 0, 4], [0, -1.5, 0, 5], [0, 0, 3, -7], [0, 0, 0, 1]])
SHAPE = (9, 7, 5)


def blocks() -> dict[str, np.ndarray]:
    """Three segments, bool [i, j, k]: one inside another, and one that meets both."""
    liver, tumor, spleen = (np.zeros(SHAPE, dtype=bool) for _ in range(3))
    liver[1:7, 1:6, 1:4] = True
    tumor[3:5, 2:4, 2:4] = True
    spleen[4:9, 3, 2] = True
    return {"liver": liver, "tumor": tumor, "spleen": spleen}


def write_overlapping(folder: Path, out: Path) -> None:
    """By our own writer, from a map with a value for each set of segments."""
    masks = blocks()
    labels, names = np.zeros(SHAPE, np.uint8), {}
    for number in range(1, 8):
        parts = [name for bit, name in enumerate(masks) if number >> bit & 1]
        here = np.logical_and.reduce([mask if name in parts else ~mask for name, mask in masks.items()])
        labels[here] = number
        names[number] = OVERLAP.join(parts)
    write_seg(folder, labels, names, out)


def segments_of(path: Path) -> dict[str, np.ndarray]:
    """Name -> bool [i, j, k], by pydicom alone."""
    seg = pydicom.dcmread(path)
    found = {s.SegmentLabel: np.zeros(SHAPE, dtype=bool) for s in seg.SegmentSequence}
    labels = {s.SegmentNumber: s.SegmentLabel for s in seg.SegmentSequence}
    for frame, group in zip(seg.pixel_array.reshape(-1, seg.Rows, seg.Columns), seg.PerFrameFunctionalGroupsSequence):
        k = round((float(group.PlanePositionSequence[0].ImagePositionPatient[2]) + 7) / 3)
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        found[labels[number]][:, :, k] = frame.T > 0
    return found


def test_segments_that_overlap_come_and_go_whole(tmp_path: Path) -> None:
    write_series(tmp_path / "series", np.zeros(SHAPE, np.int16), AFFINE, [3, 0, 4, 1, 2])
    write_overlapping(tmp_path / "series", tmp_path / "seg.dcm")
    for name, mask in segments_of(tmp_path / "seg.dcm").items():
        np.testing.assert_array_equal(mask, blocks()[name])
    image = open_study_image(tmp_path / "series", "auto", Limits())
    labels, names = read_seg(tmp_path / "seg.dcm", image)
    assert set(names) >= {"liver", "tumor", "spleen", OVERLAP.join(["liver", "tumor"])}
    for name, mask in blocks().items():
        values = [value for text, value in names.items() if name in text.split(OVERLAP)]
        np.testing.assert_array_equal(np.isin(labels, values), mask)
    write_seg(tmp_path / "series", labels, {value: name for name, value in names.items()}, tmp_path / "again.dcm")
    for name, mask in segments_of(tmp_path / "again.dcm").items():
        np.testing.assert_array_equal(mask, blocks()[name])


def test_segments_that_overlap_are_taught_whole(tmp_path: Path) -> None:
    write_series(tmp_path / "series", np.zeros(SHAPE, np.int16), AFFINE, range(5))
    write_overlapping(tmp_path / "series", tmp_path / "seg.dcm")
    image = open_study_image(tmp_path / "series", "auto", Limits())
    labels, names = read_seg(tmp_path / "seg.dcm", image)
    image.shown.save_mask(labels, tmp_path / "labels.nii.gz")
    folder = write_labelled([LabelledImage(tmp_path / "series", tmp_path / "labels.nii.gz", names)], tmp_path / "set")
    [case] = labelled_cases(SourceSpec("saved", folder))
    assert set(case.labels) == {"liver", "tumor", "spleen"}
    shown = MedicalImage.open(tmp_path / "series")
    for name, masks in read_masks(case, shown).items():
        seen = np.stack([masks[k] for k in range(SHAPE[2])])
        np.testing.assert_array_equal(seen, shown.to_display(blocks()[name]))


def test_two_segments_of_one_name_stay_two(tmp_path: Path) -> None:
    write_series(tmp_path / "series", np.zeros(SHAPE, np.int16), AFFINE, range(5))
    labels = np.zeros(SHAPE, np.uint8)
    labels[1, 1, 1], labels[5, 5, 3] = 1, 2
    write_seg(tmp_path / "series", labels, {1: "lesion", 2: "lesion"}, tmp_path / "seg.dcm")
    back, names = read_seg(tmp_path / "seg.dcm", open_study_image(tmp_path / "series", "auto", Limits()))
    np.testing.assert_array_equal(back, labels)
    assert names == {"lesion": 1, "lesion 2": 2}


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]])
def test_a_label_of_an_enhanced_file_lies_on_its_frames(tmp_path: Path, order: list[int]) -> None:
    """In whatever order the file has its frames."""
    values = np.zeros(SHAPE, np.int16)
    write_frames(tmp_path / "image.dcm", values, AFFINE)
    source = pydicom.dcmread(tmp_path / "image.dcm")
    pixels = np.stack([np.full((SHAPE[1], SHAPE[0]), 100 * k, np.int16) for k in order])
    groups = source.PerFrameFunctionalGroupsSequence
    source.PerFrameFunctionalGroupsSequence = [groups[k] for k in order]
    source.PixelData = pixels.tobytes()
    source.save_as(tmp_path / "image.dcm", write_like_original=False)
    image = open_study_image(tmp_path / "image.dcm", "auto", Limits())
    labels = (image.shown.grid.values == 300).astype(np.uint8)  # all of the slice at k = 3
    write_seg(tmp_path / "image.dcm", labels, {1: "liver"}, tmp_path / "seg.dcm")
    found = segments_of(tmp_path / "seg.dcm")["liver"]
    assert found[:, :, 3].all()
    assert found.sum() == SHAPE[0] * SHAPE[1]
    np.testing.assert_array_equal(read_seg(tmp_path / "seg.dcm", image)[0], labels)
