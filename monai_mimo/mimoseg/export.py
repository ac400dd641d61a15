"""A built set in formats of other tools: a MONAI datalist, LLaVA-style conversations, COCO.

Each writes OUT/images with the pictures as they are in the set, and JSON files beside it that are written row by row, so that
memory does not grow with the set.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset, Image
from PIL import Image as Picture
from pycocotools import mask as coco

from ..errors import InputError, OutputError
from ..files import atomic_folder, output_errors
from .describe.statistics import open_splits
from .encoding import decode_rle, plain_answer

SUFFIXES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg"}


class JsonList:
    """A list in a JSON file, or in an object that is open there, written item by item."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.count = file, 0

    def __enter__(self) -> JsonList:
        self.file.write("[")
        return self

    def add(self, item: Any) -> None:
        """Write one item on a line of its own."""
        self.file.write(("," if self.count else "") + "\n" + json.dumps(item, ensure_ascii=False))
        self.count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.write("\n]")


@dataclass
class ImageRows:
    """All rows about one image; `file` is the image below OUT."""

    rows: list[dict[str, Any]]
    file: str

    @property
    def first(self) -> dict[str, Any]:
        """For what is the same in all of them."""
        return self.rows[0]

    def masks(self) -> dict[str, dict[str, Any]]:
        """The RLE of each phrase that some row grounds."""
        return {e["phrase"]: e["mask"] for row in self.rows for e in row["entities"]}


def by_image(rows: Dataset, out: Path) -> Iterator[ImageRows]:
    """The rows of one image after the other, whose picture is written to OUT/images."""
    rows = rows.cast_column("image", Image(decode=False))
    ids = np.array(rows.select_columns("image_id").with_format("arrow")[:]["image_id"].to_pylist(), dtype=object)
    _, first, group = np.unique(ids, return_index=True, return_inverse=True)
    order = np.argsort(first[group], kind="stable")  # images by their first row, and the rows of each in order
    for places in np.split(order, np.flatnonzero(np.diff(first[group][order])) + 1) if len(order) else ():
        of_image = [rows[int(place)] for place in places]
        encoded = of_image[0]["image"]["bytes"]
        suffix = next((s for start, s in SUFFIXES.items() if encoded.startswith(start)), ".img")
        file = f"images/{safe_name(of_image[0]['image_id'])}{suffix}"
        (out / file).write_bytes(encoded)
        yield ImageRows(of_image, file)


def safe_name(image_id: str) -> str:
    """An image id as the name of a file."""
    return re.sub(r"[^\w.-]", "_", image_id)


def export_datalist(splits: dict[str, Dataset], out: Path) -> None:
    """OUT/datalist.json in the Decathlon's form, with lists "training", "validation" and "test".

    An item is one image: `image`; `label`, a PNG label map whose values `labels` explains, the smaller of masks that overlap
    on top; `masks`, the same masks without that loss as COCO RLE; and `questions` about it.
    """
    values = {entity: number for number, entity in enumerate(entities_of(splits), start=1)}
    kind = np.uint8 if len(values) < 256 else np.uint16
    (out / "labels").mkdir()
    about = {
        "name": "MIMOSeg",
        "description": "images, masks and questions of a set that mimo build wrote; research use only",
        "labels": {"0": "background"} | {str(number): entity for entity, number in values.items()},
        "tensorImageSize": "2D",
        **{f"num{name.capitalize()}": len(set(splits[s]["image_id"])) for s, name in DATALIST.items() if s in splits},
    }
    with open(out / "datalist.json", "w", encoding="utf-8") as file:
        file.write(json.dumps(about, ensure_ascii=False)[:-1])
        for split, name in DATALIST.items():
            file.write(f', "{name}": ')
            with JsonList(file) as items:
                for images in by_image(splits[split], out) if split in splits else ():
                    label = f"labels/{Path(images.file).stem}.png"
                    write_label_map(images, values, kind, out / label)
                    items.add(datalist_item(images, label, values))
        file.write("}\n")


DATALIST = {"train": "training", "validation": "validation", "test": "test"}


def datalist_item(images: ImageRows, label: str, values: dict[str, int]) -> dict[str, Any]:
    """One image of the datalist."""
    kept = ("image_id", "modality", "sequence", "source", "patient", "slice", "spacing_mm")
    asked = ("id", "perspective", "question", "answer", "points", "boxes", "value")
    return {
        "image": images.file,
        "label": label,
        **{key: images.first[key] for key in kept},
        "masks": [{"phrase": p, "value": values[p], "rle": rle} for p, rle in images.masks().items()],
        "questions": [{key: row[key] for key in asked if key in row} for row in images.rows],
    }


def write_label_map(images: ImageRows, values: dict[str, int], kind: type, path: Path) -> None:
    """Write a label map [h, w], large masks below small ones."""
    label_map: np.ndarray = np.zeros(images.first["size"], dtype=kind)
    masks = {phrase: decode_rle(rle) for phrase, rle in images.masks().items()}
    for phrase, mask in sorted(masks.items(), key=lambda item: -int(item[1].sum())):
        label_map[mask] = values[phrase]
    Picture.fromarray(label_map).save(path)


def export_llava(splits: dict[str, Dataset], out: Path) -> None:
    """OUT/SPLIT.json: one conversation for each row, as LLaVA's trainer reads it.

    Points and boxes are written as [x, y] and [x0, y0, x1, y1] in fractions of the image; masks have no place in this format
    and are left out.
    """
    for split, rows in splits.items():
        with open(out / f"{split}.json", "w", encoding="utf-8") as file:
            with JsonList(file) as items:
                for images in by_image(rows, out):
                    for row in images.rows:
                        items.add(conversation(row, images.file))
            file.write("\n")


def conversation(row: dict[str, Any], file: str) -> dict[str, Any]:
    """One row as LLaVA's conversation."""
    h, w = row["size"]
    prompts = {
        "point": iter([f"[{(x + 0.5) / w:.3f}, {(y + 0.5) / h:.3f}]" for x, y, *_ in row["points"]]),
        "box": iter([f"[{x0 / w:.3f}, {y0 / h:.3f}, {x1 / w:.3f}, {y1 / h:.3f}]" for x0, y0, x1, y1 in row["boxes"]]),
    }
    question = re.sub("<(point|box)>", lambda m: f"the {m[1]} {next(prompts[m[1]])}", row["question"])
    return {
        "id": row["id"],
        "image": file,
        "conversations": [
            {"from": "human", "value": f"<image>\n{question}"},
            {"from": "gpt", "value": plain_answer(row["answer"])[0]},
        ],
    }


def export_coco(splits: dict[str, Dataset], out: Path) -> None:
    """OUT/annotations/SPLIT.json in COCO's form: images, categories, and an annotation for each mask (RLE)."""
    numbers = {entity: number for number, entity in enumerate(entities_of(splits), start=1)}
    categories = [{"id": number, "name": entity, "supercategory": ""} for entity, number in numbers.items()]
    info = {"description": "MIMOSeg, built by mimo build; research use only"}
    (out / "annotations").mkdir()
    for split, rows in splits.items():
        with (
            open(out / "annotations" / f"{split}.json", "w", encoding="utf-8") as file,
            tempfile.TemporaryFile("w+", encoding="utf-8", dir=out) as later,
        ):
            file.write(
                f'{{"info": {json.dumps(info)}, "licenses": [], "categories": {json.dumps(categories)}, "images": '
            )
            with JsonList(file) as pictures, JsonList(later) as annotations:
                for number, images in enumerate(by_image(rows, out), start=1):
                    height, width = images.first["size"]
                    picture = {"id": number, "file_name": images.file, "height": height, "width": width}
                    pictures.add(picture | {"image_id": images.first["image_id"], "modality": images.first["modality"]})
                    for phrase, rle in images.masks().items():
                        annotations.add(annotation(annotations.count + 1, number, numbers[phrase], rle))
            file.write(', "annotations": ')
            later.seek(0)
            while part := later.read(1 << 20):
                file.write(part)
            file.write("}\n")


def annotation(number: int, image: int, category: int, rle: dict[str, Any]) -> dict[str, Any]:
    """One mask as COCO's annotation; `bbox` is [x, y, width, height]."""
    encoded = {"size": rle["size"], "counts": rle["counts"].encode("ascii")}
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": rle,
        "bbox": coco.toBbox(encoded).tolist(),
        "area": int(coco.area(encoded)),
        "iscrowd": 0,
    }


FORMATS: dict[str, Callable[[dict[str, Dataset], Path], None]] = {
    "datalist": export_datalist,
    "llava": export_llava,
    "coco": export_coco,
}


def entities_of(splits: dict[str, Dataset]) -> list[str]:
    """Every phrase that is grounded in some split, sorted."""
    found: set[str] = set()
    for rows in splits.values():
        for batch in rows.select_columns("entities").with_format("arrow").iter(10_000):
            phrases = pc.struct_field(pc.list_flatten(batch["entities"]), "phrase")
            found.update(pc.unique(phrases).to_pylist())
    return sorted(found)


def export(folder: str | Path, kind: str, out: str | Path) -> None:
    """Write a built set, with the decisions of its review, in another format.

    Raises:
        InputError: there is no such format. DataError: there is no built set.
        OutputError: `out` exists or cannot be written.
    """
    out = Path(out)
    if kind not in FORMATS:
        raise InputError("--format", repr(kind), f"one of {', '.join(FORMATS)}")
    if out.exists():
        raise OutputError(out, "an existing path", "a new folder")
    splits = open_splits(folder)
    with output_errors(out), atomic_folder(out) as new:
        (new / "images").mkdir()
        FORMATS[kind](splits, new)
