"""Images with label maps that a person saved, as a source set of the builder: a folder of links with labelled.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import DataError, InputError
from ...transforms import MedicalImage
from ...transforms.reading import NIFTI, PICTURES, VOLUMES, has_suffix
from ..catalogue.vocabulary import standard_name
from ..categories import modality_name
from .cases import Case, Label, Reader, SourceSpec
from .folders import read_json, united

FILE = "labelled.json"
OVERLAP = " ∩ "  # between the names that a value of a label map stands for together, where segments overlap
NO_NAMES = ("background", "unlabeled", "unlabelled", "foreground")


@dataclass(frozen=True)
class LabelledImage:
    """An image with a label map on its voxels.

    Attributes:
        image: a file, or the folder of a DICOM series; labels: a file.
        names: what the values of the map stand for, name -> value; pixels of other values are not asked for. Where segments
            overlap, a value of their names joined by `OVERLAP`.
        patient: images of one patient are never split; empty: each image is a patient of its own.
        modality: a name as of `modality_name`; none: what the image tells.
    """

    image: Path
    labels: Path
    names: Mapping[str, int]
    patient: str = ""
    modality: str | None = None


def write_labelled(images: Sequence[LabelledImage], folder: Path) -> Path:
    """Write a folder that `build` takes as a source. Its files are links with numbers for names, so that nothing of a patient
    gets into a built set.

    An image that does not tell its modality is windowed by percentiles, whatever it is; a volume is then called MR, a picture
    X-ray.

    Raises:
        InputError: an image cannot be read, or none of the names of its label map can be used.
    """
    pairs = []
    folder.mkdir(parents=True)
    for number, labelled in enumerate(images):
        parts = ((value, part) for text, value in labelled.names.items() if value for part in text.split(OVERLAP))
        names = united((value, name) for value, part in parts if (name := plain_name(part)))
        if not names:
            raise InputError(labelled.labels, "no name of a label", "what the values of a label map stand for")
        opened = MedicalImage.open(labelled.image, modality=labelled.modality)
        modality = opened.modality or ("MR" if opened.is_volume else "X-ray")
        links = {}
        for kind, path in (("image", labelled.image), ("label", labelled.labels)):
            links[kind] = f"{number:05d}-{kind}{_suffix(path)}"
            (folder / links[kind]).symlink_to(path.resolve())
        pairs.append({**links, "names": names, "patient": labelled.patient or f"{number:05d}", "modality": modality})
    (folder / FILE).write_text(json.dumps(pairs, indent=1))
    return folder


def labelled_cases(spec: SourceSpec) -> list[Case]:
    """labelled.json: a list of {"image", "label", "names": {name: value or values}, "patient", "modality"}."""
    reader = Reader(known=tuple(range(1, 256)))

    def case(pair: Mapping[str, Any]) -> Case:
        labels = {
            str(name): Label(spec.path / pair["label"], _whole(value), reader) for name, value in pair["names"].items()
        }
        modality = modality_name(pair["modality"])
        return Case(spec.name, str(pair["patient"]), modality, spec.path / pair["image"], labels)

    try:
        return [case(pair) for pair in read_json(spec.path / FILE)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        expected = '[{"image", "label", "names", "patient", "modality"}, ...]'
        raise DataError(spec.path / FILE, f"{type(error).__name__}: {error}", expected) from error


def _whole(value: Any) -> int | tuple[int, ...]:
    return tuple(map(int, value)) if isinstance(value, list) else int(value)


def plain_name(text: str) -> str:
    """What a person called a label, as the vocabulary or else in plain words; empty for a background."""
    words = " ".join(text.replace("_", " ").split()).lower()
    return "" if words in NO_NAMES or "<" in words else standard_name(words) or words


def _suffix(path: Path) -> str:
    if path.is_dir():
        return ""
    return next((s for s in sorted((*NIFTI, *VOLUMES, *PICTURES), key=len, reverse=True) if has_suffix(path, (s,))), "")
