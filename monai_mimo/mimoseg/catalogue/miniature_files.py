"""Writing the files of a miniature: images and labels in the formats in which sets are handed out."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import itk
import nibabel as nib
import numpy as np
import pydicom
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform
from PIL import Image

from ...errors import DataError
from ...phantom.writer import write_series
from ...transforms.reading import ITK_VOLUMES, NIFTI, PICTURES, has_suffix
from .record import LabelFile, Miniature

DICOM_CODES = {
    "PET": "PT",
    "X-ray": "DX",
    "ultrasound": "US",
    "endoscopy": "ES",
    "fundus": "OP",
    "dermoscopy": "XC",
}


class Mark(NamedTuple):
    """One thing in a label file: the entity (none: a value to ignore), what stands for it, and its mask [n, h, w]."""

    entity: str | None
    value: int | str | None
    mask: np.ndarray


def write_image(path: Path, values: np.ndarray, small: Miniature, channels: int | None, modality: str) -> None:
    """Write slices [n, h, w] (or [n, h, w, 3] of a picture) with values from 0 to 255; what the suffix does not name is a
    folder with a DICOM series. With `channels` a fourth axis holds them, each a little brighter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if has_suffix(path, PICTURES):
        write_picture(path, values[0].astype(np.uint8))
        return
    if small.dtype in ("int16", "float32", "float64") and modality == "CT":
        values = values * 4 - 500
    if has_suffix(path, (*NIFTI, *ITK_VOLUMES)):
        if channels:
            values = np.stack([values + 5 * channel for channel in range(channels)], axis=-1)
        write_miniature_volume(path, values.astype(small.dtype), small)
        return
    single = has_suffix(path, (".dcm",))
    folder = path.with_name(f"{path.name}-series") if single else path
    affine = np.diag([-small.spacing[0], -small.spacing[1], small.spacing[2], 1.0])
    write_series(folder, values.transpose(2, 1, 0), affine, path.name, 0)
    for file in folder.iterdir():
        if modality != "CT":
            dataset = pydicom.dcmread(file)
            dataset.Modality = DICOM_CODES.get(modality, modality)
            dataset.save_as(file)
        if single:
            file.replace(path)
    if single:
        folder.rmdir()


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Write [h, w] or [h, w, 3]; JPEG with little loss."""
    if has_suffix(path, (".jpg", ".jpeg")):
        Image.fromarray(pixels).save(path, quality=95)
    else:
        Image.fromarray(pixels).save(path)


def write_miniature_volume(path: Path, frames: np.ndarray, small: Miniature) -> None:
    """Write slices [n, h, w] in axial display orientation (and channels behind) as a volume with the axes of `small`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lps = frames.transpose(2, 1, 0, *range(3, frames.ndim))
    change = ornt_transform(axcodes2ornt("LPS"), axcodes2ornt(small.axes))
    voxels = np.ascontiguousarray(apply_orientation(lps, change))
    affine = np.diag([-small.spacing[0], -small.spacing[1], small.spacing[2], 1.0])
    affine[:3, 3] = (20, -30, 40)
    affine = affine @ inv_ornt_aff(change, lps.shape[:3])
    if has_suffix(path, NIFTI):
        nib.save(nib.Nifti1Image(voxels, affine), path)
        return
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    lps_affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    image = itk.image_from_array(np.ascontiguousarray(voxels.T), is_vector=False)
    extra = voxels.ndim - 3
    direction = np.eye(3 + extra)
    direction[:3, :3] = lps_affine[:3, :3] / spacing
    image.SetSpacing([*spacing.tolist(), *[1.0] * extra])
    image.SetOrigin([*lps_affine[:3, 3].tolist(), *[0.0] * extra])
    image.SetDirection(itk.matrix_from_array(direction))
    itk.imwrite(image, str(path), compression=has_suffix(path, (".nrrd",)))


def write_marks(
    path: Path, file: LabelFile, marks: list[Mark], size: tuple[int, int, int], small: Miniature, picture: bool
) -> None:
    """Write one file with labels.

    Raises:
        DataError: its kind is not drawn.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if file.kind == "map":
        _write_map(path, file, marks, size, small)
    elif file.kind == "polygons_json":
        _write_json(path, file, marks)
    elif file.kind == "polygons_xml":
        _write_xml(path, file, marks)
    elif file.kind == "points_csv":
        _write_points(path, file, marks, small)
    else:
        raise DataError(path, f"labels of kind {file.kind}", "a kind that miniatures draw")


def write_table(path: Path, file: LabelFile, rows: dict[str, list[Mark]]) -> None:
    """Write a table of run-length codes: image -> its marks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as out:
        table = csv.writer(out)
        label = file.option("entity")
        table.writerow([file.option("image"), *([label] if label else []), file.option("rle")])
        for image, marks in rows.items():
            for mark in marks:
                code = _runs(mark.mask[0], file.option("start"), file.option("relative"), file.option("order"))
                table.writerow([image, *([mark.value] if label else []), code])


def _write_map(path: Path, file: LabelFile, marks: list[Mark], size: tuple[int, int, int], small: Miniature) -> None:
    is_picture = has_suffix(path, PICTURES)
    if any(isinstance(mark.value, str) for mark in marks) and "entity" not in file.pattern().fields:
        pixels = np.zeros((*size[1:], 3), dtype=np.uint8)
        for mark in marks:
            pixels[mark.mask[0]] = list(bytes.fromhex(str(mark.value)[1:]))
        Image.fromarray(pixels).save(path)
        return
    above, below = file.option("above"), file.option("below")
    front, back = (255 if is_picture else 1), 0
    if above is not None or below is not None:
        front = round((above + below) / 2) if None not in (above, below) else above + 1 if below is None else below - 1
        back = 0 if above is not None else 255
        front = 255 if is_picture and below is None else front
    if any(mark.value == 0 for mark in marks):
        back = next(int(value) for value in file.ignored)
    array = np.full(size, back, dtype=np.uint8)
    each = "entity" in file.pattern().fields
    for mark in marks:
        if each and mark.entity is None:
            continue
        value = front if each or mark.value is None or front != (255 if is_picture else 1) else int(mark.value)
        if not np.iinfo(array.dtype).min <= value <= np.iinfo(array.dtype).max:
            array = array.astype(np.int16)
        array[mark.mask] = value
    if is_picture:
        write_picture(path, array[0])
    elif file.option("channel") is not None:
        write_miniature_volume(
            path, np.stack([array if c == file.option("channel") else array * 0 for c in range(4)], -1), small
        )
    else:
        write_miniature_volume(path, array, small)


def _runs(mask: np.ndarray, start: int, relative: bool, order: str) -> str:
    """The code of a mask, pixel by pixel."""
    pixels = (mask.T if order == "columns" else mask).ravel().tolist()
    out, end, place = [], 0, 0
    while place < len(pixels):
        if not pixels[place]:
            place += 1
            continue
        first = place
        while place < len(pixels) and pixels[place]:
            place += 1
        out += [first - end if relative else first + start, place - first]
        end = place
    return " ".join(map(str, out)) or "-1"


def _corners(mask: np.ndarray) -> list[tuple[int, int]]:
    """Of a box, (x, y) at the outer corners of its pixels."""
    rows, columns = np.nonzero(mask[0])
    x0, x1, y0, y1 = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
    return [(int(x), int(y)) for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))]


def _write_json(path: Path, file: LabelFile, marks: list[Mark]) -> None:
    shapes = [
        {file.option("name"): str(mark.value or mark.entity), file.option("points"): _corners(mark.mask)}
        for mark in marks
    ]
    about: object = shapes
    for key in reversed([key for key in file.option("shapes").split(".") if key]):
        about = {key: about}
    path.write_text(json.dumps(about))


def _write_xml(path: Path, file: LabelFile, marks: list[Mark]) -> None:
    root = ElementTree.Element("annotation")
    for mark in marks:
        region = _child(root, file.option("region").removeprefix(".//"))
        _set(region, file.option("name"), str(mark.value or mark.entity))
        *outer, last = file.option("point").split("/")
        holder = _child(region, "/".join(outer)) if outer else region
        for x, y in _corners(mark.mask):
            point = ElementTree.SubElement(holder, last)
            _set(point, file.option("x"), str(x))
            _set(point, file.option("y"), str(y))
    ElementTree.ElementTree(root).write(path)


def _write_points(path: Path, file: LabelFile, marks: list[Mark], small: Miniature) -> None:
    change = ornt_transform(axcodes2ornt("LPS"), axcodes2ornt(small.axes))
    places = [file.option(name) for name in ("x", "y", "z", "value")]
    with path.open("w", newline="") as out:
        table = csv.writer(out, delimiter=file.option("delimiter"))
        for mark in marks:
            centre = np.zeros(mark.mask.shape, dtype=bool)
            centre[tuple(np.argwhere(mark.mask).mean(axis=0).round().astype(int))] = True
            voxel = np.argwhere(apply_orientation(centre.transpose(2, 1, 0), change))[0].tolist()
            row = dict(zip(places, [*voxel, mark.value]))
            table.writerow([row.get(column, "") for column in range(max(p for p in places if p is not None) + 1)])


def _child(element: ElementTree.Element, path: str) -> ElementTree.Element:
    for name in path.split("/"):
        element = ElementTree.SubElement(element, name)
    return element


def _set(element: ElementTree.Element, place: str, text: str) -> None:
    where, _, attribute = place.partition("@")
    target = _child(element, where.rstrip("/")) if where.rstrip("/") else element
    if attribute:
        target.set(attribute, text)
    else:
        target.text = text
