"""A question with its prompts, some of them from files: whether it can be asked, and whether an answer lies where it points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL.Image import Image as PictureImage
from PIL.ImageOps import exif_transpose

from ..data.asking import asks_whether_marked
from ..data.conversation import Point, Scribbles
from ..data.names import off_topic
from ..data.prompt_maps import RegionPrompts
from ..data.tokenizer import BOX, POINT
from ..errors import InputError
from ..files import atomic_file, output_errors
from ..mimoseg.questions.templates import asked_kind
from ..models import Mimo
from ..transforms.reading import read_grid
from ..transforms.resize import SquareResize
from .answer import Entity
from .name_guard import NameGuard


class Question(NamedTuple):
    """A question about an image with its prompts, as of `MimoPredictor.ask`."""

    text: str = ""
    points: Sequence[Sequence[float]] = ()
    boxes: Sequence[Sequence[float]] = ()
    scribbles: Scribbles = (None, None)
    mask_input: np.ndarray | None = None

    @property
    def has_prompts(self) -> bool:
        drawn = any(line is not None and line.any() for line in self.scribbles)
        return bool(self.points or self.boxes or drawn or self.mask_input is not None)


def checked(question: Question, resize: SquareResize, model: Mimo, names: NameGuard | None) -> Question:
    """The question with its prompts in the form that the model reads, and known names without typing errors.

    Args:
        resize: of the image that is asked about.
        names: that the weights know.

    Raises:
        InputError: there is neither text nor prompt, a prompt lies outside of the image, or the model reads none of its kind.
    """
    text, points, boxes, scribbles, logits = question
    h, w = resize.height, resize.width
    if not text.strip() and not question.has_prompts:
        raise InputError("question", "an empty text and no prompt", "a question in words, or a prompt")
    for box in boxes:
        check_box(box, h, w)
    for line in scribbles:
        if line is not None and (line.shape != (h, w) or line.dtype != bool):
            raise InputError("scribble", f"{line.dtype} {list(line.shape)}", f"bool {[h, w]} as the image")
    side = model.config.image_size // 2
    if logits is not None and logits.shape != (side, side):
        expected = f"`Entity.logits` of an answer, {[side, side]}"
        raise InputError("mask_input", f"shape {list(logits.shape)}", expected)
    if model.mask_decoder.fine is None and (logits is not None or any(line is not None for line in scribbles)):
        raise InputError("prompts", "a scribble or a mask", "points and boxes, which are all that these weights read")
    if names is not None:
        text, _ = names.read(text)
    return Question(text.strip(), [check_point(p, h, w) for p in points], boxes, scribbles, logits)


def check_point(point: Sequence[float], height: int, width: int) -> Point:
    """(x, y[, label]) -> (x, y, label).

    Raises:
        InputError: it is outside the image, or the label is neither 0 nor 1.
    """
    x, y, label = (*point, 1) if len(point) == 2 else tuple(point)
    if not (0 <= x < width and 0 <= y < height):
        raise InputError("point", f"({x:g}, {y:g})", f"x in 0..{width - 1} and y in 0..{height - 1}")
    if label not in (0, 1):
        raise InputError("point", f"label {label}", "1 (inside) or 0 (outside)")
    return (x, y, int(label))


def check_box(box: Sequence[float], height: int, width: int) -> None:
    """Raises:
    InputError: the box has no area or leaves the image.
    """
    x0, y0, x1, y1 = box
    found = f"({', '.join(f'{v:g}' for v in box)})"
    if not (x0 < x1 and y0 < y1):
        raise InputError("box", f"{found}, which has no area", "x0 < x1 and y0 < y1")
    if not (x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height):
        raise InputError("box", found, f"a box inside (0, 0, {width}, {height})")


def with_marker(question: Question) -> Question:
    """ "Is this a cyst?" about prompts as the model was taught it: "Is this a cyst, <point>?"; any other question as it is."""
    if not (question.has_prompts and asks_whether_marked(question.text)):
        return question
    marker = BOX if question.boxes else POINT
    return question._replace(text=f"{question.text.rstrip(' ?.!')}, {marker}?")


def shown_by(question: Question) -> RegionPrompts:
    """The prompts of a question in pixels of its image, a click at the middle of its pixel."""
    points = [(x + 0.5, y + 0.5, int(label)) for x, y, label in question.points]
    return RegionPrompts(points, [(b[0], b[1], b[2], b[3]) for b in question.boxes], question.scribbles)


def obeys(question: Question, text: str, entities: Sequence[Entity], names: NameGuard | None = None) -> bool:
    """Whether what an answer grounds lies where the question points: each click in a mask, and no mask mostly outside of the
    boxes; and whether anything is, where the question asks what a prompt shows, or neither names a thing nor is turned down."""
    if not entities and question.has_prompts and asked_kind(question.text) is None:
        named = names is None or bool(names.read(question.text)[1])
        if POINT in question.text or BOX in question.text or not (named or text in off_topic().replies):
            return False
    for x, y, label in question.points:
        if label and entities and not any(e.mask[int(y), int(x)] for e in entities):
            return False
    if not question.boxes or question.points:
        return True
    within = np.zeros(entities[0].mask.shape, dtype=bool) if entities else np.zeros((1, 1), dtype=bool)
    for x0, y0, x1, y1 in question.boxes:
        within[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))] = True
    return all((e.mask & within).sum() * 2 >= e.mask.sum() for e in entities)


def check_pixels(image: np.ndarray | PictureImage) -> np.ndarray:
    """uint8 [h, w] or [h, w, 3], or an 8-bit picture of Pillow (as a column of `datasets` holds), turned upright -> [h, w, 3].

    Raises:
        InputError: it is something else.
    """
    if isinstance(image, PictureImage):
        deep = image.mode[0] in "IF"  # of more than 8 bits, which Pillow would cut
        image = np.asarray(image if deep else exif_transpose(image).convert("RGB"))
    if not isinstance(image, np.ndarray):
        raise InputError("image", type(image).__name__, "a path, a `MedicalImage`, a Pillow image, or uint8 pixels")
    pixels = image
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise InputError("image", f"{pixels.dtype} {list(pixels.shape)}", "uint8 pixels [h, w] or [h, w, 3]")
    return pixels


DRAWN = 64  # of 255: paint is at least as bright or as strong in colour


def read_scribbles(path: Path) -> Scribbles:
    """A picture of the image's size on black: green or white paint is inside of the object, red outside.

    Returns:
        inside and outside, bool [h, w]; none of a kind that was not drawn.

    Raises:
        InputError: it cannot be read, is no 8-bit picture, or nothing is painted on it.
    """
    values = read_grid(path).values
    if values.dtype != np.uint8 or values.ndim not in (2, 3):
        raise InputError(path, f"{values.dtype} {list(values.shape)}", "an 8-bit picture of scribbles")
    colours = values.astype(int) if values.ndim == 3 else np.repeat(values[..., None].astype(int), 3, axis=2)
    red, green = colours[..., 0], colours[..., 1]
    outside = (red >= DRAWN) & (red > 2 * green)
    inside = (colours.max(2) >= DRAWN) & ~outside
    if not (inside.any() or outside.any()):
        raise InputError(path, "a picture without paint", "green or white inside of the object, red outside, on black")
    return (inside if inside.any() else None, outside if outside.any() else None)


def read_logits(path: Path) -> np.ndarray:
    """Mask logits [g, g] that `save_logits` wrote.

    Raises:
        InputError: it is no such file.
    """
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        found = f"a file that cannot be read ({type(error).__name__}: {error})"
        raise InputError(path, found, "what `mimo ask --logits` wrote") from error
    if (
        not isinstance(values, np.ndarray)
        or values.ndim != 2
        or values.dtype.kind != "f"
        or not np.isfinite(values).all()
    ):
        raise InputError(path, "other values", "what `mimo ask --logits` wrote")
    return values.astype(np.float32)


def save_logits(logits: np.ndarray, path: Path) -> None:
    """Write mask logits for a further question about the same image; nothing is left of a file that fails.

    Raises:
        OutputError: it cannot be written.
    """
    with output_errors(path), atomic_file(path) as new, open(new, "wb") as file:
        np.save(file, logits)
