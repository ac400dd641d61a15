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
from skimage.color import lab2rgb, rgb2lab

from monai_mimo.errors import InputError
from monai_mimo.mimoseg.catalogue.vocabulary import standard_name, vocabulary
from monai_mimo.mimoseg.label_files.dicom_labels import segment_masks
from monai_mimo.mimoseg.sources.cases import Reader
from monai_mimo.mimoseg.sources.labelled import OVERLAP
from monai_mimo.transforms.dicom_series import find_stack
from monai_mimo.visualize import phrase_colors

from .result import unique_names
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
        names: of the values; one that is missing is called "segment n". A value of several names, joined by `OVERLAP`, is
            in the segment of each.
        model: name and hash of the weights, kept as the algorithm of the segments.
        reviewer: who accepted them.
        colors: (red, green, blue) of the values; those that are missing get one from the palette of our pictures.

    Raises:
        InputError: no label, another shape than the series', or images without a place in space.
    """
    sources, planes = sorted_sources(series)
    segments = _segments([int(v) for v in np.unique(labels) if v], names)
    if not segments:
        raise InputError("label", "no labelled voxel", "at least one")
    expected = (int(sources[0].Columns), int(sources[0].Rows), len(planes))
    if labels.shape != expected:
        raise InputError("label", f"shape {list(labels.shape)}", f"{list(expected)}, as the series has")
    if "FrameOfReferenceUID" not in sources[0]:
        raise InputError("image", "no frame of reference", "images with a place in space, to refer to from a DICOM SEG")
    pixels = np.stack([np.isin(labels.T, values) for _, values in segments], axis=-1)  # [k, row, column, segment]
    pixels = pixels[np.argsort(planes)]  # as the source counts its frames
    algorithm = hd.AlgorithmIdentificationSequence(
        name="MIMO", version=model or version("monai-mimo"), family=Code("123110", "DCM", "Artificial Intelligence")
    )
    seg = Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _description(number, name, algorithm) for number, (name, _) in enumerate(segments, start=1)
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
    for segment, (_, values), usual in zip(seg.SegmentSequence, segments, phrase_colors(len(segments))):
        segment.RecommendedDisplayCIELabValue = cielab((colors or {}).get(values[0], usual))
    save_in_utf8(seg, out)


def save_in_utf8(dataset: pydicom.Dataset, out: Path) -> None:
    """With names and words in any script: highdicom copies those of the images, but not their character set."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.save_as(out, write_like_original=False)


def _segments(values: Sequence[int], names: Mapping[int, str]) -> list[tuple[str, list[int]]]:
    """Names of segments with their values: one for each value, and those of several names in the segment of each."""
    parts = {value: names.get(value, f"segment {value}").split(OVERLAP) for value in values}
    segments = [(several[0], [value]) for value, several in parts.items() if len(several) == 1]
    for value, several in parts.items():
        for name in several if len(several) > 1 else []:
            members = next((members for known, members in segments if known == name), None)
            if members is None:
                segments.append((name, [value]))
            else:
                members.append(value)
    return segments


def cielab(rgb: Sequence[int]) -> list[int]:
    """A colour (red, green, blue), 0..255, as DICOM has it (PS3.3 C.10.7.1.1): L*, a*, b*, each in 16 bits."""
    return list(hd.color.CIELabColor(*rgb2lab(np.array(rgb[:3]) / 255).tolist()).value)


def colors_in(path: Path) -> dict[str, list[int]]:
    """(red, green, blue) of the segments of a SEG that have a colour, by the names that `read_seg` gives them."""
    segments = pydicom.dcmread(path, stop_before_pixels=True).SegmentSequence
    colors = {}
    for name, segment in zip(unique_names([str(s.SegmentLabel) for s in segments]), segments):
        value = segment.get("RecommendedDisplayCIELabValue")
        if value is not None and len(value) == 3:
            lightness, a, b = (float(v) / 65535 for v in value)
            rgb = lab2rgb([lightness * 100, a * 255 - 128, b * 255 - 128])
            colors[name] = [int(v) for v in np.rint(np.clip(rgb, 0, 1) * 255)]
    return colors


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


def sorted_sources(series: Path) -> tuple[list[pydicom.Dataset], list[int]]:
    """The images that the reader makes slices of, without their pixels, and for each slice k which plane of them it is: of a
    series the images are sorted by k, of one file with several frames its planes are counted as there.

    Raises:
        InputError: they are not all frames of one file, nor each a file of one.
    """
    stack, _ = find_stack(series)
    files = list({id(frame.file): frame.file for frame in stack.frames}.values())
    for file in files:
        file.dataset.pop(0x7FE00010, None)
        file.dataset.decode()  # while its character set is known
        for name in MAY_BE_EMPTY:
            if name not in file.dataset:
                setattr(file.dataset, name, "")
    whole = int(files[0].dataset.get("NumberOfFrames") or 1) == len(stack.frames)
    if len(files) == 1 and whole:
        return [files[0].dataset], [frame.number for frame in stack.frames]
    if len(files) != len(stack.frames):
        raise InputError(series, "a part of the frames of a file", "all of one, or files of one frame each")
    return [file.dataset for file in files], list(range(len(files)))


def read_seg(path: Path, image: StudyImage) -> tuple[np.ndarray, dict[str, int]]:
    """A SEG on the voxels of its image: a label map [i, j, k], uint8 or uint16, and the values of its segments' names.

    Segment n has value n. Where some overlap, the voxel has a value of its own, called by their names joined by `OVERLAP`, so
    that `write_seg` gives each its voxels back.

    Raises:
        InputError, DataError: it cannot be read, or does not lie on the image.
    """
    dataset = pydicom.dcmread(path, stop_before_pixels=True)
    segments = [(int(s.SegmentNumber), str(s.SegmentLabel)) for s in dataset.SegmentSequence]
    masks = segment_masks(path, Reader(), image.shown, [(number,) for number, _ in segments])
    called = unique_names([name for _, name in segments])
    values = {name: value for value, name in enumerate(called, start=1)}
    slices: dict[int, np.ndarray] = {}
    for slice in range(image.shown.n_slices):
        here = [value for value, mask in enumerate(masks, start=1) if mask.areas[slice]]
        if here:
            slices[slice] = _united([(value, masks[value - 1][slice]) for value in here], called, values)
    labels = image.to_voxels(slices) if slices else np.zeros(image.shape, dtype=np.uint8)
    return labels, values


def _united(masks: Sequence[tuple[int, np.ndarray]], called: Sequence[str], values: dict[str, int]) -> np.ndarray:
    """One label map [h, w] of masks that may overlap; `values` gets one for each new set of segments."""
    labels = np.zeros(masks[0][1].shape, dtype=np.uint16)
    for value, mask in masks:
        labels[mask] = value
    several = np.sum([mask for _, mask in masks], axis=0) > 1
    if several.any():
        sets, which = np.unique(np.stack([mask[several] for _, mask in masks]), axis=1, return_inverse=True)
        names = [OVERLAP.join(called[value - 1] for (value, _), there in zip(masks, part) if there) for part in sets.T]
        numbers = [values.setdefault(name, len(values) + 1) for name in names]
        labels[several] = np.array(numbers, dtype=np.uint16)[which.ravel()]
    return labels if max(values.values()) > 255 else labels.astype(np.uint8)


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
