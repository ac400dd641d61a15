"""Tables in CSV: run-length codes as of Kaggle and the SIIM pneumothorax challenge, and points."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np

from ...errors import DataError
from ...transforms.medical_image import MedicalImage
from ...transforms.stored_picture import stored_size, upright
from ..sources.cases import Reader
from .label_pictures import label_orientation, undecided
from .masks import BoxMasks, Masks
from .shapes import check_names


def rle_masks(path: Path, reader: Reader, image: MedicalImage, wanted: Sequence[tuple[int | str, ...]]) -> list[Masks]:
    """The masks of one image in a table of run-length codes; several rows of one label are united.

    Raises:
        DataError: a column is missing, the image has no row, a label stands for nothing, or a code is none of the image's size.
    """
    if image.is_volume:
        raise DataError(path, f"codes for the volume {image.path.name}", "a picture")
    option = reader.option
    rows = _table(str(path), path.stat().st_mtime_ns, option("image"), option("rle"), option("entity"))
    mine = rows.get(reader.key)
    if mine is None:
        if option("missing") == "empty":
            mine = []
        else:
            raise DataError(path, f"no row of {reader.key!r}", f"one in the column {option('image')!r}")
    if option("entity"):
        check_names(path, reader, [str(name) for name, _ in mine], wanted)
    turn = label_orientation(path, None, reader, image)
    if not turn and mine:
        raise undecided(path, image)
    height, width = stored_size(image.size, turn or 1)
    masks: list[Masks] = []
    for names in wanted:
        united = np.zeros((height, width), dtype=bool)
        for name, code in mine:
            if not names or name in [str(n) for n in names]:
                try:
                    united |= decode_runs(
                        code, (height, width), option("start"), option("relative"), option("order") == "columns"
                    )
                except ValueError as error:
                    raise DataError(
                        path, f"{error} (row of {reader.key!r})", f"runs in {height} x {width} pixels"
                    ) from error
        masks.append(BoxMasks(upright(united, turn or 1)[None]))
    return masks


def decode_runs(
    code: str, size: tuple[int, int], start: int = 1, relative: bool = False, columns: bool = True
) -> np.ndarray:
    """ "3 2 9 1" -> bool [h, w] with runs of 2 pixels from the third and of 1 from the ninth on.

    Args:
        size: (h, w).
        start: number of the first pixel.
        relative: a start is counted from the end of the run before (from the first pixel at first).
        columns: pixels are numbered down the columns, else along the rows.

    Raises:
        ValueError: numbers are missing, or a run leaves the picture.
    """
    numbers = [int(part) for part in code.split()]
    out = np.zeros(size[0] * size[1], dtype=bool)
    if numbers in ([], [-1]):
        return out.reshape(size)
    if len(numbers) % 2:
        raise ValueError(f"{len(numbers)} numbers, which are not pairs of start and length")
    end = 0
    for begin, length in zip(numbers[::2], numbers[1::2]):
        begin = end + begin if relative else begin - start
        end = begin + length
        if begin < 0 or length < 1 or end > out.size:
            raise ValueError(f"a run from {begin} to {end}")
        out[begin:end] = True
    return out.reshape(size[::-1]).T if columns else out.reshape(size)


def point_masks(
    path: Path, reader: Reader, image: MedicalImage, wanted: Sequence[tuple[int | str, ...]]
) -> list[Masks]:
    """A disc, in the slice of the file's last axis, around each point of a table without a header.

    Raises:
        DataError: a row is too short, holds no numbers, or lies outside of the image, which is no volume.
    """
    if not image.is_volume:
        raise DataError(path, f"points for the picture {image.path.name}", "a volume")
    option = reader.option
    shape = image.shape
    dense = [np.zeros(shape, dtype=bool) for _ in wanted]
    radius = option("radius")
    steps = np.mgrid[-radius : radius + 1, -radius : radius + 1].reshape(2, -1).T
    disc = steps[(steps**2).sum(axis=1) <= radius**2]
    with path.open(newline="", encoding="utf-8-sig") as file, _one_fault(path):
        for number, row in enumerate(csv.reader(file, delimiter=option("delimiter")), 1):
            if not any(cell.strip() for cell in row):
                continue
            try:
                x, y, z = (round(float(row[option(axis)])) for axis in "xyz")
                value = row[option("value")].strip() if option("value") is not None else ""
            except (IndexError, ValueError, OverflowError) as error:
                raise DataError(path, f"row {number} {row}", "numbers in the columns of x, y and z") from error
            if not all(0 <= place < size for place, size in zip((x, y, z), shape)):
                raise DataError(path, f"a point {x, y, z} in row {number}", f"voxels of {list(shape)}")
            places = (disc + np.array([x, y])).T
            inside = (places >= 0).all(axis=0) & (places[0] < shape[0]) & (places[1] < shape[1])
            for mask, values in zip(dense, wanted):
                if not values or value in map(str, values):
                    mask[places[0][inside], places[1][inside], z] = True
    return [BoxMasks(image.to_display(mask)) for mask in dense]


@lru_cache(maxsize=4)
def _table(
    path: str, changed: int, image: str, rle: str, entity: str | None
) -> dict[str, list[tuple[str | None, str]]]:
    """Image -> (label, code) of its rows. Read once in a process; `changed` is the time of the file."""
    rows: dict[str, list[tuple[str | None, str]]] = {}
    with open(path, newline="", encoding="utf-8-sig") as file, _one_fault(path):
        reader = csv.DictReader(file, skipinitialspace=True)
        columns = {name.strip() for name in reader.fieldnames or []}
        for name in (image, rle, entity):
            if name is not None and name not in columns:
                raise DataError(path, f"the columns {sorted(columns)}", f"a column {name!r}")
        reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
        for row in reader:
            label = (row[entity] or "").strip() if entity else None
            rows.setdefault((row[image] or "").strip(), []).append((label, (row[rle] or "").strip()))
    return rows


@contextmanager
def _one_fault(path: Path | str) -> Iterator[None]:
    """Of a file that is no table of text."""
    try:
        yield
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(path, f"not a table ({error})", "comma-separated values") from error
