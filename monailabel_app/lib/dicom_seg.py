"""Label maps as DICOM SEG, by highdicom, and back.

highdicom 0.22 is the last one for pydicom 2, which MONAI Label needs. It checks what it writes against the standard and takes
multi-frame sources too. pydicom-seg, which MONAI Label brings, does neither and is no longer maintained; dcmqi is a binary that
the server would have to download.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationTypeValues,
    SegmentDescription,
)
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from skimage.color import rgb2lab

from monai_mimo.errors import InputError
from monai_mimo.mimoseg.cases import Reader
from monai_mimo.mimoseg.catalogue.vocabulary import standard_name, vocabulary
from monai_mimo.mimoseg.label_files.dicom import segment_masks
from monai_mimo.visualize import phrase_colors

from .study_image import StudyImage

ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
TISSUE = Code("85756007", "SCT", "Tissue")  # of what has no code of its own
SIDES = {"left": Code("7771000", "SCT", "Left"), "right": Code("24028007", "SCT", "Right")}
MAY_BE_EMPTY = (  # attributes of type 2, which de-identified files often lack and highdicom copies
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
ABNORMAL_WORDS = (
    "tumor",
    "lesion",
    "cancer",
    "carcinoma",
    "polyp",
    "nodule",
    "embolism",
    "stroke",
    "hemorrhage",
    "edema",
)


def write_seg(
    series: Path,
    labels: np.ndarray,
    names: Mapping[int, str],
    out: Path,
    model: str = "",
    reviewer: str = "",
    colors: Mapping[int, Sequence[int]] | None = None,
) -> None:
    """Write a SEG about a DICOM series.

    Args:
        series: the folder with its files, or one file.
        labels: [i, j, k] on its voxels, of whole numbers.
        names: of the values; one that is missing is called "segment n".
        model: name and hash of the weights, kept as the algorithm of the segments.
        reviewer: who accepted them.
        colors: (red, green, blue) of the values; those that are missing get one from the palette of our pictures.

    Raises:
        InputError: no label, another shape than the series', or images without a place in space.
    """
    sources = sorted_sources(series)
    values = [int(v) for v in np.unique(labels) if v]
    if not values:
        raise InputError("label", "no labelled voxel", "at least one")
    frames = int(sources[0].get("NumberOfFrames", 1)) if len(sources) == 1 else len(sources)
    expected = (int(sources[0].Columns), int(sources[0].Rows), frames)
    if labels.shape != expected:
        raise InputError("label", f"shape {list(labels.shape)}", f"{list(expected)}, as the series has")
    if "FrameOfReferenceUID" not in sources[0]:
        raise InputError("image", "no frame of reference", "images with a place in space, to refer to from a DICOM SEG")
    pixels = np.stack([value == labels.T for value in values], axis=-1)  # [k, row, column, segment]
    algorithm = hd.AlgorithmIdentificationSequence(
        name="MIMO", version=model or version("monai-mimo"), family=Code("123110", "DCM", "Artificial Intelligence")
    )
    seg = Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _description(number, names.get(value, f"segment {value}"), algorithm)
            for number, value in enumerate(values, start=1)
        ],
        series_instance_uid=generate_uid(None),
        series_number=300,
        sop_instance_uid=generate_uid(None),
        instance_number=1,
        manufacturer="monai-mimo",
        manufacturer_model_name="MIMO",
        software_versions=version("monai-mimo"),
        device_serial_number="0",
        content_description="Research use only",
        content_creator_name=reviewer or None,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        series_description="MIMO segmentation (research use only)",
    )
    for segment, value, usual in zip(seg.SegmentSequence, values, phrase_colors(len(values))):
        segment.RecommendedDisplayCIELabValue = cielab((colors or {}).get(value, usual))
    seg.save_as(out, write_like_original=False)


def cielab(rgb: Sequence[int]) -> list[int]:
    """A colour (red, green, blue), 0..255, as DICOM has it (PS3.3 C.10.7.1.1): L*, a*, b*, each in 16 bits."""
    return list(hd.color.CIELabColor(*rgb2lab(np.array(rgb[:3]) / 255).tolist()).value)


def colors_of(info: Mapping[str, Any]) -> dict[int, list[int]]:
    """Of the labels that `label_info` [{"idx", "color"}] describes, those with a colour."""
    described = info.get("label_info")
    out = {}
    for entry in described if isinstance(described, list) else []:
        index, color = (entry.get("idx"), entry.get("color")) if isinstance(entry, dict) else (None, None)
        numbers = color[:3] if isinstance(color, list) else []
        if isinstance(index, int) and len(numbers) == 3 and all(isinstance(v, int) and 0 <= v <= 255 for v in numbers):
            out[index] = numbers
    return out


def sorted_sources(series: Path) -> list[pydicom.Dataset]:
    """The images of a series in the order of k, which is that of ITK: along row x column; without their pixels."""
    files = sorted(f for f in series.iterdir() if f.is_file()) if series.is_dir() else [series]
    sources = [pydicom.dcmread(f, stop_before_pixels=True) for f in files]
    for source in sources:
        for name in MAY_BE_EMPTY:
            if name not in source:
                setattr(source, name, "")
    if len(sources) == 1:
        return sources

    def place(source: pydicom.Dataset) -> float:
        row, column = np.reshape(np.asarray(source.ImageOrientationPatient, dtype=float), (2, 3))
        return float(np.cross(row, column) @ np.asarray(source.ImagePositionPatient, dtype=float))

    return sorted(sources, key=place)


def read_seg(path: Path, image: StudyImage) -> tuple[np.ndarray, dict[str, int]]:
    """A SEG on the voxels of its image: uint8 [i, j, k], and the values of its segments' names.

    Raises:
        InputError, DataError: it cannot be read, or does not lie on the image.
    """
    dataset = pydicom.dcmread(path, stop_before_pixels=True)
    segments = [(int(s.SegmentNumber), str(s.SegmentLabel)) for s in dataset.SegmentSequence]
    masks = segment_masks(path, Reader(), image.shown, [(number,) for number, _ in segments])
    height, width = image.shown.size
    slices: dict[int, np.ndarray] = {}
    for value, mask in enumerate(masks, start=1):
        for slice in range(image.shown.n_slices):
            here = mask[slice]
            if here.any():
                slices.setdefault(slice, np.zeros((height, width), dtype=np.uint8))[here] = value
    labels = image.to_voxels(slices) if slices else np.zeros(image.shape, dtype=np.uint8)
    return labels, {name: value for value, (_, name) in enumerate(segments, start=1)}


def names_of(info: Mapping[str, Any]) -> dict[int, str]:
    """The names of values, from what viewers send with a label: `label_names` {name: value}, or `label_info`, a list of
    {"name", "idx"} whose entry n is value n + 1 where it does not say."""
    names = info.get("label_names")
    if isinstance(names, Mapping):
        return {int(value): str(name) for name, value in names.items() if isinstance(value, int)}
    found = {}
    entries = info.get("label_info")
    for number, entry in enumerate(entries if isinstance(entries, Sequence) else [], start=1):
        if isinstance(entry, Mapping) and isinstance(entry.get("name"), str):
            value = entry.get("idx", number)
            found[value if isinstance(value, int) else number] = entry["name"]
    return found


def _description(number: int, name: str, algorithm: hd.AlgorithmIdentificationSequence) -> SegmentDescription:
    """With the SNOMED CT code that the vocabulary has for the name, and its side as a modifier."""
    standard = standard_name(name)
    entity = vocabulary().get(standard) if standard else None
    abnormal = any(word in name.casefold() for word in ABNORMAL_WORDS)
    code = Code(entity.snomed, "SCT", _meaning(standard or name)) if entity is not None and entity.snomed else None
    kind = code or (ABNORMAL if abnormal else TISSUE)
    description = SegmentDescription(
        segment_number=number,
        segment_label=name[:64],
        segmented_property_category=ABNORMAL if abnormal else ANATOMY if code else TISSUE,
        segmented_property_type=kind,
        algorithm_type=SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=generate_uid(None),
        tracking_id=name[:64],
    )
    side = next((code for word, code in SIDES.items() if f" {word} " in f" {(standard or name).casefold()} "), None)
    if side is not None:
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
            hd.sr.CodedConcept(side.value, side.scheme_designator, side.meaning)
        ]
    return description


def _meaning(standard: str) -> str:
    """The name without its side, which the code does not have."""
    words = [w for w in standard.split() if w not in SIDES]
    return " ".join(words).capitalize()[:64]
