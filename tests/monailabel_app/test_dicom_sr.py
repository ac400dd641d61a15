"""A report says what its SEG shows: read back by highdicom's own checks, by pydicom, and by DCMTK where that is installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from highdicom.sr import Comprehensive3DSR, VolumetricROIMeasurementsAndQualitativeEvaluations

from lib.dicom_seg import write_seg
from lib.dicom_sr import read_report, write_sr
from monai_mimo.errors import InputError
from monai_mimo.inference.safeguards import NOTICE

from .make_dicom import write_frames, write_series
from .test_dicom_seg import SHAPE

AFFINE = np.array([[-0.8, 0, 0, 4], [0, -1.5, 0, 5], [0, 0, 3, -7], [0, 0, 0, 1]])
MODEL = {"name": "MIMO tiny", "weights": "weights", "hash": "0123456789ab"}
ASKED = {
    "report": [
        {"question": "Is there a tumor?", "answer": "Yes, a liver tumor."},
        {"answer": "That is the left kidney."},
    ],
    "reviewer": "Lovelace^Ada",
    "model": MODEL,
}


def saved(
    folder: Path, asked: dict[str, Any] = ASKED, frames: bool = False, patient: str = ""
) -> tuple[pydicom.Dataset, pydicom.Dataset]:
    """SEG and SR of a kidney on two images and a tumor on one, as pydicom reads them.

    Args:
        patient: a name in Cyrillic letters, which the images then have in the character set of those.
    """
    series = folder / ("image.dcm" if frames else "series")
    if frames:
        write_frames(series, np.zeros(SHAPE, np.int16), AFFINE)
    else:
        write_series(series, np.zeros(SHAPE, np.int16), AFFINE, [3, 0, 4, 1, 2])
    for file in series.iterdir() if patient else []:
        image = pydicom.dcmread(file)
        image.SpecificCharacterSet, image.PatientName = "ISO_IR 144", patient
        image.save_as(file)
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:4, 2:5, 1:3] = 1
    labels[5:8, 1:3, 4] = 2
    write_seg(series, labels, {1: "left kidney", 2: "liver tumor"}, folder / "seg.dcm")
    report = read_report(asked)
    assert report is not None
    write_sr(folder / "seg.dcm", series, AFFINE, report, folder / "sr.dcm")
    return pydicom.dcmread(folder / "seg.dcm"), pydicom.dcmread(folder / "sr.dcm")


def groups(sr: pydicom.Dataset) -> dict[str, VolumetricROIMeasurementsAndQualitativeEvaluations]:
    """By the names of their findings' tracking, after highdicom has checked the document and its template."""
    found = Comprehensive3DSR.from_dataset(sr).content.get_volumetric_roi_measurement_groups()
    return {group.tracking_identifier: group for group in found}


def items(dataset: pydicom.Dataset) -> Iterator[tuple[str, pydicom.Dataset]]:
    """The content items under one, with the meanings of their names, by pydicom alone."""
    for item in dataset.get("ContentSequence", []):
        yield item.ConceptNameCodeSequence[0].CodeMeaning, item
        yield from items(item)


def text_of(sr: pydicom.Dataset, name: str) -> list[str]:
    return [str(item.get("TextValue") or item.get("PersonName")) for meaning, item in items(sr) if meaning == name]


@pytest.mark.parametrize("frames", [False, True])
def test_what_is_measured_is_what_the_segments_hold(tmp_path: Path, frames: bool) -> None:
    _, sr = saved(tmp_path, frames=frames)
    found = groups(sr)
    [volume] = found["left kidney"].get_measurements()
    assert (volume.name.value, volume.unit.value, volume.unit.scheme_designator) == ("118565006", "ml", "UCUM")
    assert volume.value == pytest.approx(3 * 3 * 2 * 0.8 * 1.5 * 3 / 1000)
    [area] = found["liver tumor"].get_measurements()
    assert (area.name.value, area.unit.value, area.unit.scheme_designator) == ("42798000", "mm2", "UCUM")
    assert area.value == pytest.approx(3 * 2 * 0.8 * 1.5)


def test_findings_have_the_codes_and_sides_of_the_segments(tmp_path: Path) -> None:
    _, sr = saved(tmp_path)
    kidney, tumor = groups(sr)["left kidney"], groups(sr)["liver tumor"]
    assert (kidney.finding_type.scheme_designator, kidney.finding_type.value) == ("SCT", "64033007")
    [site] = kidney.finding_sites
    assert site.value.value == "64033007"
    assert site.laterality.meaning == "Left"
    assert tumor.finding_category.meaning == "Morphologically Abnormal Structure"
    assert tumor.finding_sites == []


def test_each_finding_refers_to_its_segment_and_its_images(tmp_path: Path) -> None:
    seg, sr = saved(tmp_path)
    frames = [
        (int(g.SegmentIdentificationSequence[0].ReferencedSegmentNumber), source.ReferencedSOPInstanceUID)
        for g in seg.PerFrameFunctionalGroupsSequence
        for source in g.DerivationImageSequence[0].SourceImageSequence
    ]
    for segment in seg.SegmentSequence:
        group = groups(sr)[segment.SegmentLabel]
        assert group.tracking_uid == segment.TrackingUID
        assert group.referenced_segment.referenced_sop_instance_uid == seg.SOPInstanceUID
        assert group.referenced_segment.referenced_segment_numbers == [segment.SegmentNumber]
        sources = {s.referenced_sop_instance_uid for s in group.referenced_segment.source_images_for_segmentation}
        assert sources == {uid for number, uid in frames if number == segment.SegmentNumber}
    evidence = {
        instance.ReferencedSOPInstanceUID
        for study in sr.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    assert evidence == {seg.SOPInstanceUID, *(uid for _, uid in frames)}
    for name in ("StudyInstanceUID", "PatientID", "PatientName"):
        assert sr[name].value == seg[name].value
    assert sr.SeriesInstanceUID != seg.SeriesInstanceUID


def test_who_and_what_observed(tmp_path: Path) -> None:
    _, sr = saved(tmp_path)
    assert text_of(sr, "Person Observer Name") == ["Lovelace^Ada"]
    assert text_of(sr, "Device Observer Model Name") == ["MIMO tiny"]
    assert text_of(sr, "Device Observer Serial Number") == [MODEL["hash"]]
    assert text_of(sr, "Algorithm Version") == [MODEL["hash"]] * 2
    assert (sr.CompletionFlag, sr.VerificationFlag) == ("COMPLETE", "UNVERIFIED")


def test_the_same_weights_are_the_same_device(tmp_path: Path) -> None:
    def device(name: str, hash: str) -> str:
        (tmp_path / name).mkdir()
        _, sr = saved(tmp_path / name, {**ASKED, "model": {**MODEL, "hash": hash}})
        return next(item.UID for meaning, item in items(sr) if meaning == "Device Observer UID")

    assert device("a", "1" * 12) == device("b", "1" * 12) != device("c", "2" * 12)


def test_the_words_are_there_with_the_notice(tmp_path: Path) -> None:
    _, sr = saved(tmp_path)
    assert text_of(sr, "Question to the model") == ["Is there a tumor?"]
    assert text_of(sr, "Answer of the model") == ["Yes, a liver tumor.", "That is the left kidney."]
    assert text_of(sr, "Comment") == [NOTICE]


def test_words_in_any_script(tmp_path: Path) -> None:
    """Whatever character set the images have."""
    words = {"question": "Где печень?", "answer": "肝臓 – там."}
    seg, sr = saved(tmp_path, {**ASKED, "report": [words], "reviewer": "Jörg Müller"}, patient="Иванов^Иван")
    assert text_of(sr, "Question to the model") == [words["question"]]
    assert text_of(sr, "Answer of the model") == [words["answer"]]
    assert text_of(sr, "Person Observer Name") == ["Jörg Müller^"]
    assert sr.PatientName == seg.PatientName == "Иванов^Иван"


def test_dcmtk_reads_it_without_a_complaint(tmp_path: Path) -> None:
    program = shutil.which("dsrdump")
    if program is None:
        pytest.skip("DCMTK is not installed (apt-get install dcmtk)")
    saved(tmp_path)
    done = subprocess.run([program, tmp_path / "sr.dcm"], capture_output=True, text=True, check=True)
    assert "Comprehensive 3D SR Document" in done.stdout
    complaints = [line for line in done.stderr.splitlines() if line.startswith(("W:", "E:", "F:"))]
    assert [line for line in complaints if "Character Set" not in line] == []  # its checker does not know UTF-8


def test_without_a_report_there_is_none() -> None:
    assert read_report({"reviewer": "R", "model": MODEL}) is None
    assert read_report({"report": False}) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"report": "text"}, "report: found str"),
        ({"report": ["text"]}, "a list of"),
        ({"report": [{"question": "Why?"}]}, "each a text"),
        ({"report": [{"question": 1, "answer": "a"}]}, "each a text"),
        ({"report": [{"answer": "a" * 10_001}]}, "10001 characters"),
        ({"report": [{"answer": "a"}] * 256}, "256 answers"),
        ({"reviewer": ""}, "the name of who accepted"),
        ({"reviewer": 3}, "the name of who accepted"),
        ({"reviewer": "a" * 65}, "at most 64"),
        ({"reviewer": "A\\B"}, "without"),
    ],
)
def test_what_cannot_be_reported(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_report({**ASKED, **change})
