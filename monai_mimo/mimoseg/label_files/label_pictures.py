"""Pictures that hold labels, as tools write them: palettes, bits, alpha, colours, and masks that were stored with loss."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from pathlib import Path

import numpy as np

from ...errors import DataError, one_error
from ...transforms.medical_image import MedicalImage
from ...transforms.pictures import read_stored, turn_and_size
from ...transforms.reading import PICTURES, has_suffix
from ...transforms.stored_picture import TRANSPARENT, stored_size, upright
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


NEAR = 12  # a colour may be so far from a listed one, in each channel, when every other is three times as far
SOFT, SOFT_SHARE, SOFT_VALUES = 16, 0.2, 4  # see `_is_soft`
FAINT = 64  # no mask that was stored with loss is darker
SHOWN = 6  # colours or values in a message


class LabelPicture:
    """One that is opened, upright on its image.

    Attributes:
        notes: what was odd and what was made of it.
    """

    def __init__(self, path: Path, reader: Reader, image: MedicalImage) -> None:
        """Read it.

        Raises:
            InputError: it cannot be read.
            DataError: it has another size than the image, or it does not tell how it lies on it.
        """
        with one_error(path, "a picture of labels"):
            self._stored = read_stored(path)
        self.path, self.notes = path, list[str]()
        stored = self._stored
        pages = stored.pages > 1
        shape = stored.values.shape[: 3 if pages else 2]
        if pages != image.is_volume or (pages and shape != image.shape):
            raise DataError(path, f"size {list(shape)}", f"{list(image.shape)} as in {image.path.name}")
        self._turn = label_orientation(path, shape[-2:], reader, image, stored.turn)
        if self._turn == 0:
            if not _same(stored.shown(), image.grid.turn, int(pages)):
                raise undecided(path, image)
            self._turn = 1

    def whole_numbers(self, known: Collection[int] | None) -> np.ndarray:
        """Labels [n, h, w]: indices of a palette, grey values, 0 for what is transparent.

        Args:
            known: values that stand for something; none: all but 0 stand for one thing.

        Raises:
            DataError: it is in colour, or holds several labels and was stored with loss.
        """
        one = 255 if known is None else next(iter(set(known))) if len(set(known)) == 1 else None
        values = self._single_channel(known)
        stored = self._stored
        if stored.bilevel and known is not None and 1 not in known and 255 in known:
            values = values * np.uint8(255)
        if stored.alpha is not None:
            values = self._without_transparent(values, one)
        elif stored.palette is None and not stored.bilevel and values.dtype == np.uint8:
            values = self._sharp(values, known, one)
        return self._frames(values)

    def grey(self) -> np.ndarray:
        """Values [n, h, w] of any type, as they are stored."""
        return self._frames(self._single_channel(None))

    def colours(self, listed: Collection[int], tolerance: int) -> np.ndarray:
        """Colours as numbers 0xrrggbb [n, h, w]: those that are listed, and 0 for black, transparent or, with a tolerance, any
        other.

        Raises:
            DataError: a colour is not listed, nor near to one that is.
        """
        pixels = self._frames(self._colour_pixels())
        codes = (pixels.astype(np.int32) * [1 << 16, 1 << 8, 1]).sum(axis=-1)
        if self._stored.alpha is not None:
            transparent = self._frames(self._stored.alpha) < TRANSPARENT
            self._note_alpha()
            codes[transparent] = 0
            if len(listed) == 1 and not codes.any():
                codes[~transparent] = next(iter(listed))
        found, places = np.unique(codes, return_inverse=True)
        named = np.array([0, *sorted(set(listed) - {0})])
        far = np.abs(_rgb(found)[:, None] - _rgb(named)).max(axis=-1)  # [found, named]
        nearest, least = far.argmin(axis=1), far.min(axis=1)
        if tolerance:
            out = np.where(least <= tolerance, named[nearest], 0)
        else:
            apart = np.sort(far, axis=1)[:, 1]
            out = named[nearest]
            if self._stored.lossy and len(named) == 2:
                self.notes.append("stored with loss: each pixel is what it is nearer to, the colour or black")
            else:
                wrong = (least > NEAR) | ((least > 0) & (apart <= 3 * NEAR))
                if wrong.any():
                    there = _listed(f"#{code:06x}" for code in found.tolist() if code)
                    names = _listed(f"#{code:06x}" for code in named.tolist() if code)
                    lossy = ", stored with loss" if self._stored.lossy else ""
                    found_text = f"colour #{int(found[wrong][0]):06x} (it holds {there}{lossy})"
                    raise DataError(self.path, found_text, f"black or one of {names}")
                if (least > 0).any():
                    count = np.isin(places, np.flatnonzero(least > 0)).sum()
                    self.notes.append(f"{count} pixels have colours near to listed ones, and count as those")
        return out[places].reshape(codes.shape)

    def _frames(self, pixels: np.ndarray) -> np.ndarray:
        first = int(self._stored.pages > 1)
        turned = upright(pixels, self._turn, first)
        return turned if first else turned[None]

    def _colour_pixels(self) -> np.ndarray:
        stored = self._stored
        values = stored.values * np.uint8(255) if stored.bilevel else stored.values
        if stored.palette is not None:
            return stored.palette[values]
        pixels = values if stored.in_colour else np.repeat(values[..., None], 3, axis=-1)
        if pixels.dtype != np.uint8:
            raise DataError(self.path, f"values of type {pixels.dtype}", "8-bit colours")
        return pixels

    def _single_channel(self, known: Collection[int] | None) -> np.ndarray:
        stored = self._stored
        if stored.palette is not None:
            return self._indices(stored.values, stored.palette, known)
        if not stored.in_colour:
            return stored.values
        pixels = stored.values
        spread = int((pixels.max(axis=-1).astype(np.int64) - pixels.min(axis=-1)).max())
        if spread <= (NEAR if stored.lossy else 0):
            return pixels[..., 1]
        colours = [code for code in np.unique((pixels.astype(np.int64) * [1 << 16, 1 << 8, 1]).sum(axis=-1)) if code]
        if known is None and len(colours) == 1:
            self.notes.append(f"its only colour, #{colours[0]:06x}, is the mask")
            return pixels.any(axis=-1).astype(np.uint8)
        there = _listed(f"#{code:06x}" for code in colours)
        raise DataError(self.path, f"a mask in colour ({there})", 'grey values, or labels of colours "#rrggbb"')

    def _indices(self, values: np.ndarray, palette: np.ndarray, known: Collection[int] | None) -> np.ndarray:
        """Of a palette: its indices, or its greys where only these are known."""
        used = np.unique(values)
        colours = palette[used]
        if known is not None:
            grey = (colours == colours[:, :1]).all() and not set(used.tolist()) <= {0, *known}
            if grey and set(colours[:, 0].tolist()) <= {0, *known}:
                self.notes.append("the greys of its palette are the labels, not the indices")
                return palette[values][..., 0]
            return values
        black = ~colours.any(axis=1)
        if palette[0].any() and black[used > 0].any():
            raise DataError(self.path, "a palette whose index 0 is not black while another is", "labels of colours")
        return values

    def _without_transparent(self, values: np.ndarray, one: int | None) -> np.ndarray:
        alpha = self._stored.alpha
        assert alpha is not None
        transparent = alpha < TRANSPARENT
        if transparent.all():
            raise DataError(self.path, "a mask that is transparent everywhere", "a shape")
        if not transparent.any():
            return values
        self._note_alpha()
        shape = np.where(transparent, 0, values)
        if (values == values.flat[0]).all() or not shape.any():
            if one is None:
                raise DataError(self.path, "a shape in the alpha channel alone, and several labels", "their values")
            return np.where(transparent, 0, one)
        return shape

    def _note_alpha(self) -> None:
        alpha = self._stored.alpha
        soft = alpha is not None and np.isin(alpha, (0, 255), invert=True).any()
        cut = f", cut at an alpha of {TRANSPARENT}" if soft else ""
        self.notes.append(f"what is transparent is background{cut}")

    def _sharp(self, values: np.ndarray, known: Collection[int] | None, one: int | None) -> np.ndarray:
        """A mask of one label that was stored with loss, cut at half of its value."""
        if not self._stored.lossy and not (one is not None and one >= 128 and _is_soft(values)):
            return values
        if one is None:
            found = f"{len(set(known or ()))} labels in a file that was stored with loss"
            raise DataError(self.path, found, "PNG or another format without loss")
        most = int(values.max())
        top = most if known is None else one
        if most and (top < FAINT or most > top + SOFT):
            found = f"values up to {most} in a file that was stored with loss"
            raise DataError(self.path, found, f"a mask of 0 and {255 if known is None else one}")
        if np.isin(values, (0, top)).all():
            return values
        self.notes.append(f"its values are soft, as of a mask stored with loss: cut at {top / 2:g}")
        return np.where(values > top / 2, np.uint8(one), np.uint8(0))


def _same(pixels: np.ndarray, turn: int, first: int) -> bool:
    """Whether turning changes nothing, as of an empty mask."""
    return bool(np.array_equal(upright(pixels, turn, first), pixels))


def _is_soft(values: np.ndarray) -> bool:
    """Whether values are those of a mask of 0 and about 255 with blurred edges, and not numbers of many objects: most of what is
    not near to 0 is near to the greatest value, and there are several values beside both."""
    most = int(values.max())
    if most < 200:
        return False
    counts = np.bincount(values.ravel(), minlength=256)
    several = np.count_nonzero(counts[1:most]) >= SOFT_VALUES and counts[most - SOFT : most].any()
    return bool(several and counts[SOFT + 1 : most - SOFT].sum() <= SOFT_SHARE * counts[SOFT + 1 :].sum())


def _rgb(codes: np.ndarray) -> np.ndarray:
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=-1).astype(np.int16)


def _listed(names: object) -> str:
    several = list(names)  # type: ignore[call-overload]
    return ", ".join(several[:SHOWN]) + (f" and {len(several) - SHOWN} more" if len(several) > SHOWN else "")
