"""Sets of questions and answers without masks, in the file formats in which they are published, as rows of perspective 0.

| set | found by | split | closed |
|---|---|---|---|
| VQA-RAD | "VQA_RAD Dataset Public.json", "VQA_RAD Image Folder" | test: phrase_type is test_... | answer_type |
| SLAKE | train.json, validate.json, test.json, imgs | those files | answer_type |
| PathVQA | qas/SPLIT/SPLIT_qa.pkl, images/SPLIT | those folders | the answer is yes or no |
| LLaVA-Med | llava_med_*.json, images | none: by article | never |

The published test questions of VQA-RAD are partly about images that its training questions are about too; the split is kept
as it was published, so that results can be compared.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from .. import __version__
from ..errors import DataError, InputError
from .splits import parse_ratio, split_patients

TAGS = re.compile(r"\s*</?(?:image|p|SEG|point|box|s|pad)>\s*")
ENCODED = ("PNG", "JPEG")  # kept as they are


@dataclass(frozen=True)
class VqaPair:
    """A question and its answer; `kind` is "closed" or "open", `number` its place in the set."""

    number: int
    question: str
    answer: str
    kind: str


@dataclass(frozen=True)
class VqaImage:
    """One image with what is asked about it in one split.

    Attributes:
        file: the image; name: its path below the set.
        patient: what must stay in one split: a patient, a case, or an article.
        modality: "" when the set does not say.
        split: as published; none when there is no published split.
    """

    file: Path
    name: str
    patient: str
    modality: str
    split: str | None
    pairs: tuple[VqaPair, ...]


@dataclass(frozen=True)
class VqaSet:
    """A set that was found.

    Attributes:
        layout: "vqa-rad", "slake", "path-vqa" or "llava-med".
        missing: names of images that are asked about and are not there; their questions are left out.
        left_out: questions in other languages, or without a text.
    """

    layout: str
    path: Path
    images: tuple[VqaImage, ...]
    missing: tuple[str, ...]
    left_out: int


@dataclass(frozen=True)
class _Entry:
    """A question as it stands in the set's file."""

    name: str
    question: Any
    answer: Any
    kind: str
    patient: str
    modality: str
    split: str | None
    wanted: bool = True


def open_vqa(path: str | Path) -> VqaSet | None:
    """Find out which of the sets lies in a folder, and list its images; none when it is no such set.

    Raises:
        DataError: a file of the set is damaged, lacks an entry, or not one of its images is there.
    """
    path = Path(path)
    for layout, (find, read) in LAYOUTS.items():
        root = find(path)
        if root is not None:
            return _collect(layout, path if path.is_dir() else path.parent, root, read)
    return None


def _collect(layout: str, path: Path, root: Path, read: Callable[[Path], Iterator[_Entry]]) -> VqaSet:
    groups: dict[tuple[str, str | None], list[tuple[_Entry, VqaPair]]] = {}
    missing: dict[str, None] = {}
    there: dict[str, bool] = {}
    left_out = 0
    try:
        for number, entry in enumerate(read(root)):
            question, answer = (TAGS.sub(" ", str(text)).strip() for text in (entry.question, entry.answer))
            if not (entry.wanted and question and answer):
                left_out += 1
                continue
            if not there.setdefault(entry.name, (path / entry.name).is_file()):
                missing[entry.name] = None
                continue
            pair = VqaPair(number, question, answer, entry.kind)
            groups.setdefault((entry.name, entry.split), []).append((entry, pair))
    except (ValueError, TypeError, AttributeError, pickle.UnpicklingError, EOFError) as error:
        raise DataError(root, f"no readable questions ({error})", f"the file of {layout} as published") from error
    except KeyError as error:
        raise DataError(root, f"a question without {error}", f"the file of {layout} as published") from error
    if not groups:
        found = f"not one of {len(missing)} images ({next(iter(missing), '-')})"
        raise DataError(path, found, "the images beside the questions")
    images = (
        VqaImage(path / name, name, of[0][0].patient, of[0][0].modality, split, tuple(pair for _, pair in of))
        for (name, split), of in groups.items()
    )
    return VqaSet(layout, path, tuple(images), tuple(missing), left_out)


def vqa_splits(found: VqaSet, ratio: str = "80:10:10", seed: int = 0) -> list[str]:
    """The split of each image of the set: as published, or else by patient."""
    unknown = {image.patient for image in found.images if image.split is None}
    drawn: Mapping[str, str] = split_patients(unknown, parse_ratio(ratio), seed)
    return [image.split or drawn[image.patient] for image in found.images]


def vqa_rows(image: VqaImage, layout: str, source: str) -> Iterator[dict[str, Any]]:
    """The rows about one image, in the columns of `schema`, without masks and prompts.

    Args:
        layout: of the set; the rows' template is LAYOUT/closed or LAYOUT/open.
        source: the name of the set in the built set.

    Raises:
        InputError: the image cannot be read.
    """
    encoded, size = _encoded(image.file)
    image_id = hashlib.sha256(f"{source}/{image.name}".encode()).hexdigest()[:16]
    patient = hashlib.sha256(f"{source}/{image.patient}".encode()).hexdigest()[:16]
    for pair in image.pairs:
        yield {
            "id": f"{image_id}-{pair.number}",
            "image": {"bytes": encoded, "path": None},
            "image_id": image_id,
            "size": size,
            "modality": image.modality,
            "source": source,
            "patient": patient,
            "slice": -1,
            "sequence": "",
            "spacing_mm": [],
            "perspective": 0,
            "question": pair.question,
            "answer": pair.answer,
            "entities": [],
            "absent": [],
            "points": [],
            "boxes": [],
            "template": f"{layout}/{pair.kind}",
            "file": image.name,
            "builder": __version__,
        }


def _encoded(file: Path) -> tuple[bytes, list[int]]:
    """The bytes of a PNG or JPEG file and its size [h, w] as it is shown; other formats become PNG."""
    try:
        encoded = file.read_bytes()
        with Image.open(io.BytesIO(encoded)) as picture:
            picture.load()
            shown = ImageOps.exif_transpose(picture)
            if picture.format not in ENCODED:
                out = io.BytesIO()
                shown.convert("RGB").save(out, format="PNG")
                encoded = out.getvalue()
            return encoded, [shown.height, shown.width]
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(file, f"no readable image ({error})", "a picture") from error


def _rad_root(path: Path) -> Path | None:
    file = path / "VQA_RAD Dataset Public.json"
    return file if file.is_file() else None


def _rad(file: Path) -> Iterator[_Entry]:
    modalities = {"CHEST": "X-ray", "ABD": "CT"}  # heads are CT or MR, and the file does not say which
    for item in json.loads(file.read_text(encoding="utf-8-sig")):
        yield _Entry(
            name=f"VQA_RAD Image Folder/{item['image_name']}",
            question=item["question"],
            answer=item["answer"],
            kind=str(item["answer_type"]).strip().lower(),
            patient=str(item.get("image_case_url") or item["image_name"]),
            modality=modalities.get(str(item["image_organ"]).strip().upper(), ""),
            split="test" if str(item["phrase_type"]).strip().startswith("test") else "train",
        )


SLAKE_FILES = {"train.json": "train", "validate.json": "validation", "test.json": "test"}


def _slake_root(path: Path) -> Path | None:
    files = [path / name for name in SLAKE_FILES]
    return path if all(file.is_file() for file in files) and (path / "imgs").is_dir() else None


def _slake(root: Path) -> Iterator[_Entry]:
    modalities = {"MRI": "MR", "X-Ray": "X-ray"}
    for file, split in SLAKE_FILES.items():
        for item in json.loads((root / file).read_text(encoding="utf-8")):
            yield _Entry(
                name=f"imgs/{item['img_name']}",
                question=item["question"],
                answer=item["answer"],
                kind=item["answer_type"].strip().lower(),
                patient=item["img_name"].split("/")[0],
                modality=modalities.get(item["modality"], item["modality"]),
                split=split,
                wanted=item["q_lang"] == "en",
            )


PATH_SPLITS = {"train": "train", "val": "validation", "test": "test"}


def _path_root(path: Path) -> Path | None:
    files = [path / "qas" / name / f"{name}_qa.pkl" for name in PATH_SPLITS]
    return path if all(file.is_file() for file in files) else None


class _PlainUnpickler(pickle.Unpickler):
    """Reads lists, dictionaries and texts, and refuses to load or call anything else."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} in the file")


def _path(root: Path) -> Iterator[_Entry]:
    for name, split in PATH_SPLITS.items():
        with open(root / "qas" / name / f"{name}_qa.pkl", "rb") as file:
            items = _PlainUnpickler(file).load()
        for item in items:
            closed = str(item["answer"]).strip().lower() in ("yes", "no")
            yield _Entry(
                name=f"images/{name}/{item['image']}.jpg",
                question=item["question"],
                answer=item["answer"],
                kind="closed" if closed else "open",
                patient=item["image"],
                modality="pathology",
                split=split,
            )


def _llava_root(path: Path) -> Path | None:
    """The file itself, or the one of a folder that is trained on: the 60k with the text around a figure first."""
    if path.is_file():
        return path if path.name.startswith("llava_med_") and path.suffix == ".json" else None
    files = sorted(
        path.glob("llava_med_*.json"), key=lambda file: (-len(re.findall("60k|inline", file.name)), file.name)
    )
    return files[0] if files else None


def _llava(file: Path) -> Iterator[_Entry]:
    modalities = {
        "chest_xray": "X-ray",
        "mri": "MR",
        "ct_scan": "CT",
        "histology": "histology",
        "gross": "gross pathology",
    }
    for item in json.loads(file.read_text(encoding="utf-8")):
        shown = [modalities[key] for key, is_it in (item.get("domain") or {}).items() if is_it and key in modalities]
        turns = item["conversatons"] if "conversatons" in item else item["conversations"]  # as spelled in some files
        for human, gpt in zip(turns[::2], turns[1::2]):
            if (human["from"], gpt["from"]) != ("human", "gpt"):
                raise ValueError(f"turns of {human['from']} and {gpt['from']} in {item['id']}")
            yield _Entry(
                name=f"images/{item['image']}",
                question=human["value"],
                answer=gpt["value"],
                kind="open",
                patient=re.sub(r"_F?\d+$", "", Path(item["image"]).stem),  # ARTICLE_FIGURE
                modality=shown[0] if len(shown) == 1 else "",
                split=None,
            )


LAYOUTS: dict[str, tuple[Callable[[Path], Path | None], Callable[[Path], Iterator[_Entry]]]] = {
    "vqa-rad": (_rad_root, _rad),
    "slake": (_slake_root, _slake),
    "path-vqa": (_path_root, _path),
    "llava-med": (_llava_root, _llava),
}
