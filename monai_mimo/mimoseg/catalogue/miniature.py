"""A small drawn example of a set, in exactly its published tree: what a record says is tried on it, without the real data."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...errors import DataError, MimoError, OutputError
from ...files import digest, output_errors
from ...transforms.reading import PICTURES, has_suffix
from .miniature_files import Mark, write_image, write_marks, write_table
from .patterns import Pattern
from .record import LabelFile, Layout, Miniature, Record

COLOURED = ("dermoscopy", "endoscopy", "fundus")


@dataclass
class DrawnImage:
    """One image of a miniature, and what is true about it.

    Attributes:
        fields: of its pattern.
        masks: entity -> bool [slice, row, column] in axial display orientation: slices from the feet on, rows towards the
            back, columns towards the patient's left. A picture has one slice.
    """

    path: Path
    fields: dict[str, str]
    masks: dict[str, np.ndarray]


class DrawnLabel(NamedTuple):
    """What one label file draws into one cell of the image; an entity of none is a value to ignore."""

    file: int
    entity: str | None
    value: int | str | None
    cell: int


def draw_miniature(record: Record, out: Path, layout: int = 0) -> list[DrawnImage]:
    """Draw the set of a record into a new folder.

    Every value of every entity has a box in a cell of its own, which moves a little from label file to label file, so that
    a wrong pair of image and labels is noticed.

    Args:
        layout: which of the record's.

    Raises:
        DataError: the record does not say what stands for a field, or has a kind of label file that is not drawn.
        OutputError: `out` exists or cannot be written; then nothing is left.
    """
    if out.exists():
        raise OutputError(out, "an existing path", "a new folder for the miniature")
    try:
        with output_errors(out):
            return _draw(record, record.layouts[layout], out)
    except MimoError:
        shutil.rmtree(out, ignore_errors=True)
        raise


def example_paths(record: Record, layout: int = 0) -> list[str]:
    """Paths of an image and its labels in a layout, as the miniature has them; empty when it has none."""
    chosen = record.layouts[layout]
    for fields in _combinations(record.miniature, Pattern(chosen.images).fields, _fills(record)):
        images = [_path(Pattern(chosen.images), fields, record)]
        return images + [next(iter(_instances(file, [fields], record))) for file in chosen.labels]
    return []


def _fills(record: Record) -> list[str]:
    fills = [fill for series in record.series for fill in (series.sequences or {}).values()]
    return list(dict.fromkeys(fill for fill in fills if isinstance(fill, str)))


def _draw(record: Record, layout: Layout, out: Path) -> list[DrawnImage]:
    small, pattern = record.miniature, Pattern(layout.images)
    fills = [fill for series in record.series for fill in (series.sequences or {}).values()]
    channels = [fill + 1 for fill in fills if isinstance(fill, int)]
    combinations = list(_combinations(small, pattern.fields, _fills(record)))
    if not combinations:
        raise DataError(f"record {record.name}", "no values in miniature.fields", f"some for {layout.images}")
    images: dict[str, dict[str, str]] = {}
    for fields in combinations:
        path = _path(pattern, fields, record)
        images.setdefault(path, {name: fields[name] for name in pattern.fields})
    picture = has_suffix(Path(next(iter(images))), (*PICTURES, ".dcm"))
    size = (1 if picture else small.shape[2], small.shape[1], small.shape[0])
    items = list(_items(layout))
    files = [_instances(file, combinations, record) for file in layout.labels]

    def box(item: DrawnLabel, label_path: str, image_path: str) -> np.ndarray:
        file = layout.labels[item.file]
        mask = _box(item.cell, len(items), size, f"{label_path} {image_path if file.kind == 'rle_csv' else ''}")
        return _disc(mask, file.option("radius")) if file.kind == "points_csv" else mask

    drawn = []
    for number, (path, fields) in enumerate(images.items()):
        masks = {}
        for entity in dict.fromkeys(item.entity for item in items if item.entity is not None):
            masks[entity] = np.zeros(size, dtype=bool)
            for file, (label, instances) in enumerate(zip(layout.labels, files)):
                shared = [name for name in label.pattern().fields if name in pattern.fields]
                votes = np.zeros(size, dtype=int)
                for label_path, has in instances.items():
                    if all(has[name] == fields[name] for name in shared):
                        mine = [i for i in items if i.file == file and _in(i, has) and _is(i, entity, label)]
                        votes += sum((box(item, label_path, path) for item in mine), np.zeros(size, dtype=int)) > 0
                masks[entity] |= votes >= (label.option("agree") if label.kind == "map" else 1)
        drawn.append(DrawnImage(out / path, fields, masks))
        modality = record.series[0].modality
        values = _image_values(masks, size, number, modality in COLOURED and picture)
        write_image(out / path, values, small, max(channels, default=None), modality)
    for file, (label, instances) in enumerate(zip(layout.labels, files)):
        for label_path, has in instances.items():
            mine = [item for item in items if item.file == file and _in(item, has)]
            if label.kind == "rle_csv":
                rows = {
                    Pattern(label.option("key")).fill(image.fields): [
                        Mark(item.entity, item.value, box(item, label_path, str(image.path.relative_to(out))))
                        for item in mine
                    ]
                    for image in drawn
                }
                write_table(out / label_path, label, rows)
            else:
                marks = [Mark(item.entity, item.value, box(item, label_path, "")) for item in mine]
                write_marks(out / label_path, label, marks, size, small, picture)
    return drawn


def _combinations(small: Miniature, names: list[str], fills: list[str]) -> Iterator[dict[str, str]]:
    """The fields of each file of the miniature, of those combinations that have all fields of the image's pattern."""
    given = small.fields
    if isinstance(given, dict):
        rows = [dict(zip(given, values)) for values in product(*given.values())]
    else:
        rows = [dict(row) for row in given]
    for row in rows:
        if not set(names) <= {*row, "sequence"}:
            continue  # of another layout
        if fills and "sequence" not in row:
            yield from ({**row, "sequence": fill} for fill in fills)
        else:
            yield row


def _path(pattern: Pattern, fields: dict[str, str], record: Record) -> str:
    if missing := [name for name in pattern.fields if name not in fields]:
        raise DataError(f"record {record.name}", f"no values of {{{missing[0]}}} in miniature.fields", pattern.text)
    path = pattern.fill(fields).replace("**/", "")
    return path.replace("**", "*").replace("*", record.miniature.wildcards)


def _items(layout: Layout) -> Iterator[DrawnLabel]:
    cell = 0
    for number, file in enumerate(layout.labels):
        marks: list[tuple[str | None, int | str | None]] = []
        for entity, values in file.entities.items():
            marks += [(entity, value) for value in values] or [(entity, None)]
        marks += [(None, value) for value in file.ignored if value not in (0, 255)]  # those are backgrounds
        for mark, value in marks:
            yield DrawnLabel(number, mark, value, cell)
            cell += 1


def _instances(file: LabelFile, combinations: list[dict[str, str]], record: Record) -> dict[str, dict[str, str]]:
    """Path -> fields of each file that a pattern of labels stands for."""
    pattern = file.pattern()
    out: dict[str, dict[str, str]] = {}
    each = [str(v) for values in file.entities.values() for v in values] if "entity" in pattern.fields else [""]
    for fields in combinations:
        for entity in each:
            full = {**fields, "entity": entity} if entity else fields
            out.setdefault(_path(pattern, full, record), {name: full[name] for name in pattern.fields})
    return out


def _is(item: DrawnLabel, entity: str, file: LabelFile) -> bool:
    """Whether an item is part of an entity: a value may stand for several, as for a disc and the cup in it."""
    return item.entity == entity or (item.value is not None and item.value in file.entities.get(entity, []))


def _in(item: DrawnLabel, has: dict[str, str]) -> bool:
    """Whether an item is in the file with these fields: all are, but for those of other entities in files for each."""
    return has.get("entity", str(item.value)) == str(item.value)


def _box(cell: int, cells: int, size: tuple[int, int, int], seed: str) -> np.ndarray:
    """bool [slice, row, column]: a box in one cell of the image, moved by up to two pixels."""
    across = math.ceil(math.sqrt(cells))
    height, width = size[1] // math.ceil(cells / across), size[2] // across
    if min(height, width) < 8:
        raise DataError(
            "miniature.shape", f"{size[2]} x {size[1]} pixels", f"8 in each direction for each of {cells} labels"
        )
    chance = bytes.fromhex(digest(seed))
    y, x = height * (cell // across) + 1 + chance[0] % 3, width * (cell % across) + 1 + chance[1] % 3
    first = (1 + cell % 2) if size[0] > 3 else 0
    out = np.zeros(size, dtype=bool)
    out[first : max(first + 1, size[0] - 1), y : y + height - 4, x : x + width - 4] = True
    return out


def _disc(box: np.ndarray, radius: int) -> np.ndarray:
    """A disc in the middle of a box, on its first slice."""
    corner, extent = np.argwhere(box).min(axis=0), np.ptp(np.argwhere(box), axis=0)
    centre = corner + extent // 2
    out = np.zeros_like(box)
    for y, x in np.ndindex(box.shape[1:]):
        out[corner[0], y, x] = (y - centre[1]) ** 2 + (x - centre[2]) ** 2 <= radius**2
    return out


def _image_values(masks: dict[str, np.ndarray], size: tuple[int, int, int], number: int, coloured: bool) -> np.ndarray:
    """Values from 20 to 220: noise, and brighter where masks are."""
    rng = np.random.default_rng(number)
    values = rng.integers(20, 90, size)
    for place, mask in enumerate(masks.values()):
        values[mask] += 60 + 7 * (place % 10)
    return np.stack([values, values * 3 // 4, values // 2], axis=-1) if coloured else values
