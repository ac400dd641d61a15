"""Labels of a picture that is stored turned (EXIF): whether they lie on its pixels as stored or on it as seen.

Cameras store what their sensor saw and the orientation beside it. Some tools draw on the picture upright, others on the pixels
as they are stored, and few label files say which.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from ...errors import DataError
from ...transforms.medical_image import MedicalImage
from ...transforms.pictures import turn_and_size
from ...transforms.reading import PICTURES, has_suffix
from ...transforms.stored_picture import stored_size
from ..sources.cases import Reader

STORED, UPRIGHT = "stored", "upright"
PLACE = "\0"


def label_orientation(
    path: Path, size: tuple[int, int] | None, reader: Reader, image: MedicalImage, own: int = 1
) -> int:
    """The EXIF orientation that brings labels of (h, w) pixels onto a picture as it is shown; 1 where they lie so already.

    It is the labels' own where they have one, else what the reader's option `exif` says, else what their size tells: as it is
    when that is the size of the picture upright, the picture's when that is its size as stored. A size that is both (of square
    pictures, and of those turned by half or mirrored) is decided by the other pictures of the folder; 0 says that those do not
    tell either.

    Args:
        size: none where the file does not say.

    Raises:
        DataError: the labels have neither size.
    """
    turn = image.grid.turn
    if own != 1:
        if size is not None and stored_size(size, own) != image.size:
            raise DataError(path, f"size {list(stored_size(size, own))} upright", _size(image))
        return own
    given = reader.option("exif")
    if given not in (None, STORED, UPRIGHT):
        raise DataError(path, f"option exif: {given!r}", f"{STORED} or {UPRIGHT}")
    fits = {UPRIGHT: size in (None, image.size), STORED: size in (None, stored_size(image.size, turn))}
    if not any(fits.values()) or (given and not fits[given]):
        raise DataError(path, f"size {list(size or ())}", _size(image))
    if turn == 1:
        return 1
    if given is None and all(fits.values()):
        given = _orientation_of_others(image.path.parent, _template(image.path, path))
        if given is None:
            return 0
    return turn if (given == STORED if given else fits[STORED]) else 1


def undecided(path: Path, image: MedicalImage) -> DataError:
    """The error where nothing tells how the labels lie."""
    found = f"labels that may lie on {image.path.name} as stored or upright (its EXIF orientation is {image.grid.turn})"
    return DataError(path, found, f'the option "exif": "{STORED}" or "{UPRIGHT}" beside the labels')


def _size(image: MedicalImage) -> str:
    return f"{list(image.size)} as in {image.path.name}"


def _template(image: Path, labels: Path) -> str:
    """The path of a label file with a mark instead of the name of its image; empty when that is not in it."""
    before, found, after = str(labels).rpartition(image.stem)
    return before + PLACE + after if found else ""


@lru_cache(maxsize=64)
def _orientation_of_others(folder: Path, template: str) -> str | None:
    """What the sizes of the other pictures of a folder and their masks say, when all that say anything say the same."""
    found = set()
    for image in sorted(folder.iterdir()) if PLACE in template else []:
        mask = Path(template.replace(PLACE, image.stem))
        if not (has_suffix(image, PICTURES) and has_suffix(mask, PICTURES) and mask.is_file()):
            continue
        try:
            (turn, size), (own, mask_size) = turn_and_size(image), turn_and_size(mask)
        except Exception:  # it is named when it is read itself
            continue
        if turn != 1 and own == 1 and size != stored_size(size, turn):
            found.add({size: STORED, stored_size(size, turn): UPRIGHT}.get(mask_size))
    return found.pop() if len(found) == 1 else None
