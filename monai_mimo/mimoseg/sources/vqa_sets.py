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

import json
import pickle
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import DataError, one_error
from ...transforms import pictures
from ...transforms.medical_image import MedicalImage
from .cases import Case, Source, VqaPair
from .read_case import ShownSlice, SliceMasks, encoded_slice

TAGS = re.compile(r"\s*</?(?:image|p|SEG|point|box|s|pad)>\s*")


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


def open_vqa(name: str, path: str | Path) -> Source | None:
    """Find out which of the sets lies in a folder, and list its images; none when it is no such set. An image that is asked
    about in two published splits is a case in each.

    Args:
        name: of the set in the built set.
        path: the folder, or the file with the questions of LLaVA-Med.

    Raises:
        DataError: a file of the set is damaged, lacks an entry, or not one of its images is there.
    """
    path = Path(path)
    for layout, (find, read) in LAYOUTS.items():
        file = find(path)
        if file is not None:
            return _collect(Source(name, path if path.is_dir() else path.parent, layout), file, read)
    return None


def _collect(source: Source, file: Path, read: Callable[[Path], Iterator[_Entry]]) -> Source:
    """Fill in cases and notes from the file or folder with the questions."""
    groups: dict[tuple[str, str | None], list[tuple[_Entry, VqaPair]]] = {}
    missing: dict[str, None] = {}
    there: dict[str, bool] = {}
    left_out = 0
    expected = f"the file of {source.layout} as published"
    try:
        for number, entry in enumerate(read(file)):
            question, answer = (TAGS.sub(" ", str(text)).strip() for text in (entry.question, entry.answer))
            if not (entry.wanted and question and answer):
                left_out += 1
                continue
            if not there.setdefault(entry.name, (source.path / entry.name).is_file()):
                missing[entry.name] = None
                continue
            pair = VqaPair(number, question, answer, f"{source.layout}/{entry.kind}")
            groups.setdefault((entry.name, entry.split), []).append((entry, pair))
    except (ValueError, TypeError, AttributeError, pickle.UnpicklingError, EOFError) as error:
        raise DataError(file, f"no readable questions ({error})", expected) from error
    except KeyError as error:
        raise DataError(file, f"a question without {error}", expected) from error
    if not groups:
        found = f"not one of {len(missing)} images ({next(iter(missing), '-')})"
        raise DataError(source.path, found, "the images beside the questions")
    for (name, split), of in groups.items():
        first, _ = of[0]
        source.cases.append(
            Case(
                source=source.name,
                patient=first.patient,
                modality=first.modality,
                image=source.path / name,
                labels={},
                perspectives=(0,),
                root=source.path,
                split=split,
                pairs=tuple(pair for _, pair in of),
            )
        )
    source.notes += _notes(source.cases, list(missing), left_out)
    return source


def _notes(cases: list[Case], missing: list[str], left_out: int) -> list[str]:
    notes = []
    splits: dict[str, set[str | None]] = {}
    for case in cases:
        splits.setdefault(case.patient, set()).add(case.split)
    if several := sum(len(of) > 1 for of in splits.values()):
        notes.append(f"{several} patients or cases in more than one of the published splits, which are kept")
    if left_out:
        notes.append(f"{left_out} questions in other languages or without a text")
    return notes + [f"{name}: asked about and not there" for name in missing]


def shown_picture(case: Case) -> ShownSlice:
    """The image of a case as it is shown.

    Raises:
        InputError: it cannot be read.
    """
    with one_error(case.image, "a picture"):
        image = MedicalImage(pictures.read_picture(case.image), case.image)
    return ShownSlice(encoded_slice(image, 0), image.size, number=-1, spacing_mm=None, masks=SliceMasks(), absent=[])


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
