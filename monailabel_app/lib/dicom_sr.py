"""What a person accepted as a DICOM SR beside its SEG: a TID 1500 measurement report, by highdicom.

The report says nothing that the SEG does not show: its volumes and areas are counted from the voxels of the SEG's segments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Comprehensive3DSR,
    ContainerContentItem,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
    PersonObserverIdentifyingAttributes,
    ReferencedSegment,
    RelationshipTypeValues,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from monai_mimo.errors import InputError
from monai_mimo.inference.safeguards import NOTICE

from .dicom_seg import save_in_utf8, sorted_sources

QUESTION = Code("question", "99MONAIMIMO", "Question to the model")
ANSWER = Code("answer", "99MONAIMIMO", "Answer of the model")
EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
MOST_TEXT = 10_000  # characters of a question or an answer
MOST_ANSWERS = 255
MOST_NAME = 64


@dataclass(frozen=True)
class Report:
    """What a report says beside its measurements.

    Attributes:
        answers: questions with the answers whose masks were accepted; a question is empty where only marks were made.
        reviewer: the person who accepted them.
        model, weights: name of the model, and the hash that tells its weights from others.
    """

    answers: tuple[tuple[str, str], ...]
    reviewer: str
    model: str
    weights: str


def read_report(info: Mapping[str, Any]) -> Report | None:
    """The report that a viewer asks for with a label: `report` [{"question", "answer"}], `reviewer` and `model`; none where it
    asks for none.

    Raises:
        InputError: it has another form, or does not say who accepted what.
    """
    asked = info.get("report")
    if asked is None or asked is False:
        return None
    form = 'a list of {"question", "answer"}, each a text'
    if not isinstance(asked, list) or not all(isinstance(entry, Mapping) for entry in asked):
        raise InputError("report", type(asked).__name__, form)
    if len(asked) > MOST_ANSWERS:
        raise InputError("report", f"{len(asked)} answers", f"at most {MOST_ANSWERS}")
    answers = []
    for entry in asked:
        texts = entry.get("question", ""), entry.get("answer")
        if not all(isinstance(text, str) for text in texts) or not texts[1]:
            raise InputError("report", repr(texts)[:80], form)
        if max(map(len, texts)) > MOST_TEXT:
            raise InputError("report", f"{max(map(len, texts))} characters", f"at most {MOST_TEXT}")
        answers.append((texts[0].strip(), texts[1].strip()))
    reviewer = info.get("reviewer")
    if not isinstance(reviewer, str) or not reviewer.strip():
        raise InputError("reviewer", "none", "the name of who accepted what is reported")
    if len(reviewer.strip()) > MOST_NAME or not reviewer.isprintable() or set(reviewer) & set("\\="):
        raise InputError("reviewer", repr(reviewer)[:80], f"a name of at most {MOST_NAME} characters, without \\ and =")
    model = info.get("model")
    known = model if isinstance(model, Mapping) else {"name": model}
    return Report(
        tuple(dict.fromkeys(answers)), reviewer.strip(), str(known.get("name") or "MIMO"), str(known.get("hash") or "")
    )


def write_sr(seg: Path, series: Path, affine: np.ndarray, report: Report, out: Path) -> None:
    """Write the report of a SEG.

    Of a segment on one image it tells the area in mm2, of another the volume in ml.

    Args:
        seg: of `write_seg`.
        series: the images that it lies on, a folder or a file.
        affine: of the voxels [i, j, k] of the series to millimetres; i and j run within an image.
    """
    segments = pydicom.dcmread(seg)
    segments.decode()
    sources, _ = sorted_sources(series)
    frames = segments.pixel_array.reshape(-1, segments.Rows, segments.Columns)
    owners = [
        int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        for group in segments.PerFrameFunctionalGroupsSequence
    ]
    findings = []
    for description in segments.SegmentSequence:
        counts = [np.count_nonzero(f) for f, owner in zip(frames, owners) if owner == description.SegmentNumber]
        images, voxels = np.count_nonzero(counts), int(np.sum(counts))
        findings.append(_finding(segments, description, images, voxels, affine, report))
    content = MeasurementReport(
        observation_context=_observers(report),
        procedure_reported=Code("363679005", "SCT", "Imaging"),
        imaging_measurements=findings,
        title=codes.DCM.ImagingMeasurementReport,
    )
    content[0].ContentSequence.append(_conversation(report))
    sr = Comprehensive3DSR(
        evidence=[segments, *sources],
        content=content[0],
        series_instance_uid=generate_uid(None),
        series_number=301,
        sop_instance_uid=generate_uid(None),
        instance_number=1,
        manufacturer="monai-mimo",
        manufacturer_model_name="MIMO",
        software_versions=version("monai-mimo"),
        is_complete=True,
        is_final=False,
        is_verified=False,
        record_evidence=False,
        series_description="MIMO report (research use only)",
    )
    save_in_utf8(sr, out)


def _finding(
    seg: pydicom.Dataset, description: pydicom.Dataset, images: int, voxels: int, affine: np.ndarray, report: Report
) -> VolumetricROIMeasurementsAndQualitativeEvaluations:
    """A measurement group about one segment, with the codes and the tracking that the SEG has.

    Of TID 1411 also where the segment lies on one image: highdicom 0.22 writes its planar group with a frame number beside the
    segment's, which PS3.3 10.3 excludes, and takes that for the frame of the source.

    Args:
        images: on how many it has voxels.
    """
    coded = description.SegmentedPropertyTypeCodeSequence[0]
    kind = CodedConcept(coded.CodeValue, coded.CodingSchemeDesignator, coded.CodeMeaning)  # without the side inside it
    sides = coded.get("SegmentedPropertyTypeModifierCodeSequence")
    if images == 1:
        column, row = np.linalg.norm(affine[:3, :2], axis=0)
        measured = Measurement(codes.SCT.Area, _rounded(voxels * column * row), codes.UCUM.SquareMillimeter)
    else:
        volume = voxels * abs(np.linalg.det(affine[:3, :3])) / 1000
        measured = Measurement(codes.SCT.Volume, _rounded(volume), Code("ml", "UCUM", "ml"))
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(description.TrackingUID, description.SegmentLabel),
        referenced_segment=ReferencedSegment.from_segmentation(seg, int(description.SegmentNumber)),
        finding_type=kind,
        finding_category=CodedConcept.from_dataset(description.SegmentedPropertyCategoryCodeSequence[0]),
        finding_sites=[FindingSite(kind, laterality=CodedConcept.from_dataset(sides[0]))] if sides else None,
        algorithm_id=AlgorithmIdentification("MIMO", report.weights or version("monai-mimo")),
        measurements=[measured],
    )


def _rounded(value: float) -> float:
    """To six significant digits: DICOM's decimal strings have 16 characters."""
    return float(f"{value:.6g}")


def _observers(report: Report) -> ObservationContext:
    """The person who accepted, and the weights as a device whose UID is the same for the same weights."""
    name = report.reviewer if "^" in report.reviewer else f"{report.reviewer}^"  # else a form that DICOM has retired
    person = ObserverContext(codes.DCM.Person, PersonObserverIdentifyingAttributes(name))
    device = DeviceObserverIdentifyingAttributes(
        uid=generate_uid(entropy_srcs=["monai-mimo", report.model, report.weights]),
        name="MIMO",
        manufacturer_name="monai-mimo",
        model_name=report.model,
        serial_number=report.weights or None,
    )
    return ObservationContext(person, ObserverContext(codes.DCM.Device, device))


def _conversation(report: Report) -> ContainerContentItem:
    """The questions and answers in words, as qualitative evaluations, and the notice that goes with every answer."""
    container = ContainerContentItem(EVALUATIONS, relationship_type=RelationshipTypeValues.CONTAINS)
    texts = [(codes.DCM.Comment, NOTICE)]
    for question, answer in report.answers:
        texts += [(QUESTION, question)] if question else []
        texts.append((ANSWER, answer))
    container.ContentSequence = hd.sr.ContentSequence(
        [TextContentItem(name, text, RelationshipTypeValues.CONTAINS) for name, text in texts]
    )
    return container
