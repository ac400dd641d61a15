"""The reply to a request: a label map on the voxels of the input file, and the JSON that explains it."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import nibabel as nib
import nrrd
import numpy as np

from monai_mimo.errors import InputError
from monai_mimo.inference.safeguards import NOTICE
from monai_mimo.transforms.prompts import tight_box

from .model import Model
from .study_image import StudyImage

RESULT_EXTENSIONS = (".nrrd", ".seg.nrrd", ".nii.gz", ".nii", ".png")


@dataclass
class Segment:
    """A phrase with its mask: bool [slices, h, w], of the one slice that was asked about or of all. `span` points into the
    answer; none where the answer does not name it."""

    phrase: str
    mask: np.ndarray
    score: float
    status: str = "shown"
    span: tuple[int, int] | None = None


@dataclass
class Reply:
    """What a task found. `withheld`, `notices`: see `monai_mimo.inference.safeguards`."""

    answer: str
    segments: list[Segment]
    warnings: list[str] = field(default_factory=list)
    withheld: list[dict[str, Any]] = field(default_factory=list)
    notices: list[str] = field(default_factory=lambda: [NOTICE])


def to_voxels(image: StudyImage, slices: dict[int, np.ndarray]) -> np.ndarray:
    """Label maps uint8 [h, w] by slice as one, uint8 [i, j, k]."""
    return image.to_voxels(slices) if slices else np.zeros(image.shape, dtype=np.uint8)


def to_json(
    reply: Reply, image: StudyImage, slices: Mapping[int, np.ndarray], slice: int | None, model: Model
) -> dict[str, Any]:
    """The JSON of a reply; see the app's README. Boxes are [i0, j0, k0, i1, j1, k1], the ends outside.

    Args:
        slices: uint8 [h, w] by slice: segment n has value n + 1.
        slice: the one that was asked about; none: the whole volume.
    """
    voxel_mm3 = None if image.affine is None else float(abs(np.linalg.det(image.affine[:3, :3])))
    entities = []
    for value, segment in enumerate(reply.segments, start=1):
        masks = {number: labels == value for number, labels in slices.items()}
        areas = {number: int(mask.sum()) for number, mask in masks.items() if mask.any()}
        count, ends = sum(areas.values()), sorted(image.index_of(n) for n in (min(areas), max(areas))) if areas else []
        entities.append(
            {
                "phrase": segment.phrase,
                "span": None if segment.span is None else list(segment.span),
                "label": value,
                "score": round(float(segment.score), 4),
                "status": segment.status,
                "slice": image.index_of(max(areas, key=lambda n: areas[n])) if areas else None,
                "box": _box(image, {number: masks[number] for number in areas}) if areas else None,
                "voxels": count,
                "volume_mm3": None if voxel_mm3 is None else round(count * voxel_mm3, 3),
                **({"slices": ends} if slice is None else {}),
            }
        )
    return {
        "answer": reply.answer,
        "entities": entities,
        "withheld": reply.withheld,
        "image": {
            "shape": list(image.shape),
            "plane": image.shown.plane,
            "axis": image.slice_axis,
            "slice": None if slice is None else image.index_of(slice),
            "modality": image.shown.modality,
        },
        "label_names": label_names(entities),
        "warnings": reply.warnings,
        "notes": list(image.shown.notes),
        "notice": " ".join(reply.notices),
        "model": model.info(),
    }


def _box(image: StudyImage, masks: Mapping[int, np.ndarray]) -> list[int]:
    """The tight box of masks [h, w] by slice, none of them empty, in voxels."""
    x0, y0, x1, y1 = tight_box(np.any(list(masks.values()), axis=0))
    ends = image.voxel(min(masks), x0, y0), image.voxel(max(masks), x1 - 1, y1 - 1)
    low, high = zip(*(sorted(pair) for pair in zip(*ends)))
    return [*low, *(v + 1 for v in high)]


def label_names(entities: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The names of the values of a label map, by the entities of its reply."""
    return dict(zip(unique_names([e["phrase"] for e in entities]), (e["label"] for e in entities)))


def unique_names(phrases: Sequence[str]) -> list[str]:
    """Names of segments: a phrase that comes again gets a number."""
    seen: Counter[str] = Counter()
    names = []
    for phrase in phrases:
        seen[phrase] += 1
        names.append(phrase if seen[phrase] == 1 else f"{phrase} {seen[phrase]}")
    return names


def write_result(labels: np.ndarray, image: StudyImage, names: Mapping[str, int], request: Mapping[str, Any]) -> str:
    """Write a label map to a new temporary file, in the form that the request asks for.

    Args:
        labels: uint8 [i, j, k].
        request: `result_extension`; none: that of the input, or NRRD where that is DICOM. `result_compress`: not for PNG.

    Raises:
        InputError: another extension, or a PNG for a volume.
    """
    wanted = request.get("result_extension") or _extension_of(image)
    if wanted not in RESULT_EXTENSIONS or (wanted == ".png" and image.shown.is_volume):
        raise InputError(
            "result_extension", repr(wanted)[:80], f"one of {', '.join(RESULT_EXTENSIONS)} (.png for a picture)"
        )
    handle, out = tempfile.mkstemp(prefix="mimo-", suffix=wanted)
    os.close(handle)
    if wanted == ".png":
        image.shown.save_mask(labels[..., 0].T.copy(), out)
    elif wanted.endswith("nrrd"):
        compress = request.get("result_compress", True) not in (False, "false", 0)
        _write_nrrd(labels, image, names, out, compress)
    elif image.affine is not None:
        image.shown.save_mask(labels, out)
    else:
        nib.save(nib.Nifti1Image(labels, image_affine(image)), out)
    return out


def image_affine(image: StudyImage) -> np.ndarray:
    """Voxels to RAS millimetres; a picture lies in the axial plane, as ITK places one, with its spacing if that is known."""
    if image.affine is not None:
        return image.affine
    row, column = image.shown.spacing_mm or (1.0, 1.0)
    return np.diag([-column, -row, 1.0, 1.0])


def _extension_of(image: StudyImage) -> str:
    name = image.path.name.lower()
    return next((e for e in (".nii.gz", ".nii", ".png") if name.endswith(e)), ".nrrd")


def _write_nrrd(labels: np.ndarray, image: StudyImage, names: Mapping[str, int], out: str, compress: bool) -> None:
    """NRRD in LPS, with the names of segments as 3D Slicer reads them."""
    lps = np.diag([-1.0, -1, 1, 1]) @ image_affine(image)
    header: dict[str, Any] = {
        "space": "left-posterior-superior",
        "kinds": ["domain", "domain", "domain"],
        "space directions": lps[:3, :3].T,
        "space origin": lps[:3, 3],
        "encoding": "gzip" if compress else "raw",
    }
    if out.endswith(".seg.nrrd"):
        extent = " ".join(f"0 {n - 1}" for n in labels.shape)
        for number, (name, value) in enumerate(names.items()):
            header |= {
                f"Segment{number}_ID": f"Segment_{value}",
                f"Segment{number}_Name": name,
                f"Segment{number}_LabelValue": str(value),
                f"Segment{number}_Layer": "0",
                f"Segment{number}_Extent": extent,
            }
    nrrd.write(out, labels, header, compression_level=1, index_order="F")
