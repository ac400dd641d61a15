"""What the values of a column are called: modalities, perspectives and splits.

The catalogue uses eight modalities; any other name is taken as it is given."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

NUMERALS = ("VQA", "I", "II", "III", "IV", "V")  # as they are called; VQA has no masks
SPLITS = ("train", "validation", "test")
PERSPECTIVES = (1, 2, 3, 4, 5)
MEASURED = 5  # asked of any masks, whatever a record allows, and counted apart: the published table has four


MODALITIES = ("CT", "MR", "PET", "X-ray", "dermoscopy", "endoscopy", "ultrasound", "fundus")
A_NAME = r"[^\W_][\w +./()&-]{0,39}"
NAMES_EXPECTED = f"{', '.join(MODALITIES)}, or another name of a modality such as OCT or microscopy"


def modality_name(text: str) -> str:
    """A modality's name: one of `MODALITIES` however its letters, spaces and hyphens are written ("ct", "X ray"; "MRI" too),
    any other as it is given, without spaces around it.

    Images of the other names are shown by percentiles, or as they are when they have 8 bits.

    Raises:
        ValueError: it is no name: empty, longer than 40 characters, or with a comma, a line break or the like.
    """
    name = " ".join(text.split(" ")).strip()
    known = _BY_LETTERS.get(_letters(name))
    if known:
        return known
    if not re.fullmatch(A_NAME, name):
        raise ValueError(f"{text!r} is not the name of a modality")
    return name


def _letters(name: str) -> str:
    return re.sub("[ -]", "", name.casefold())


_BY_LETTERS = {_letters(name): name for name in MODALITIES} | {"mri": "MR"}

Modality = Annotated[str, AfterValidator(modality_name)]
