"""Reading the files that hold masks, a file for each kind of them, and the masks of a case, whatever files they come from."""

from __future__ import annotations

from pathlib import Path

from ...errors import DataError
from ...transforms.medical_image import MedicalImage
from ..sources.cases import Case, Label, Reader
from .dicom_labels import rtstruct_masks, segment_masks
from .label_tables import point_masks, rle_masks
from .maps import map_masks
from .masks import Masks, NoMasks, UnitedMasks
from .polygons import json_masks, xml_masks

__all__ = ["Masks", "read_masks"]

READERS = {
    "map": map_masks,
    "rle_csv": rle_masks,
    "points_csv": point_masks,
    "polygons_xml": xml_masks,
    "polygons_json": json_masks,
    "dicom_seg": segment_masks,
    "rtstruct": rtstruct_masks,
}


def read_masks(case: Case, image: MedicalImage) -> dict[str, Masks]:
    """The masks of a case on the slices of its image, each file read once: entity -> `Masks`.

    Raises:
        InputError: a file cannot be read.
        DataError: image and masks differ in size or place, or a file holds a value that stands for no label.
    """
    by_file: dict[tuple[Path, Reader], list[tuple[str, Label]]] = {}
    for entity, label in case.labels.items():
        for part in label.parts:
            if part.path is not None:
                by_file.setdefault((part.path, part.reader), []).append((entity, part))
    parts: dict[str, list[Masks]] = {entity: [] for entity in case.labels}
    for (path, reader), wanted in by_file.items():
        if not path.exists():
            raise DataError(path, "no such file", f"the labels of {image.path.name}")
        found = READERS[reader.kind](path, reader, image, [label.values for _, label in wanted])
        for (entity, _), masks in zip(wanted, found):
            parts[entity].append(masks)
    return {entity: _united(case.labels[entity], found, image) for entity, found in parts.items()}


def _united(label: Label, parts: list[Masks], image: MedicalImage) -> Masks:
    agree = label.reader.option("agree") if label.reader.kind == "map" else 1
    if not parts:
        return NoMasks(image.frames.shape)
    return parts[0] if len(parts) == 1 and agree == 1 else UnitedMasks(parts, agree)
