"""What one visitor of the demo page has: an open image, a slice, prompts on it, the last answer. The page only shows it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ..data.conversation import Scribbles
from ..errors import InputError, SeveralError
from ..inference import MimoPredictor
from ..inference.safeguards import Guarded, Thresholds, guard
from ..transforms import MedicalImage
from ..transforms.reading import has_suffix
from ..visualize import overlay, phrase_colors, save_picture

INSIDE, OUTSIDE, BOX = "point inside", "point outside", "box (two clicks)"
BRUSH_INSIDE, BRUSH_OUTSIDE = BRUSHES = ("brush inside", "brush outside")
TOOLS = (INSIDE, OUTSIDE, BOX, *BRUSHES)
LONGEST_QUESTION = 500  # letters
MOST_PROMPTS = 20
LONGEST_STROKE = 500  # places
STROKES = (0, 255, 0), (255, 60, 60)  # colours of what is brushed inside and outside
HEADERS = (".mhd", ".nhdr", ".hdr")  # of volumes whose voxels are in a file of their own
NOTHING: Mapping[str, int] = {}
SHOWN = 640, 540  # (width, height) that a smaller picture is enlarged to, since Gradio shows it no larger than it is


class Session:
    """One visitor; methods may be called from several threads.

    Attributes:
        image, number: what is open, and which slice of it is shown.
        given: the prompts in the order in which they were set, each with its tool: a point (x, y), a box (x0, y0, x1, y1), or the
            places [(x, y), ...] that a brush went along, in pixels of the slice.
        corner: the first corner of a box whose second is not yet clicked.
        guarded: the answer to the last question about this slice.
        several: the error of files that hold several images, from when they are opened until others are.

    Args:
        predictor: whose model all visitors share.
        thresholds: of the safeguards.
    """

    def __init__(self, predictor: MimoPredictor, thresholds: Thresholds) -> None:
        self._predictor = copy(predictor)  # with an image of its own
        self._thresholds = thresholds
        self._folder = tempfile.TemporaryDirectory(prefix="mimo-demo-")
        self._lock = RLock()
        self._encoded: int | None = None
        self._files: Sequence[str | Path] = ()
        self._pending: Sequence[str | Path] = ()
        self._chosen: Mapping[str, int] = NOTHING
        self.several: SeveralError | None = None
        self.image: MedicalImage | None = None
        self.number = 0
        self.given: list[tuple[str, Any]] = []
        self._before: np.ndarray | None = None  # logits of the last answer's mask, to be refined
        self.corner: tuple[int, int] | None = None
        self.guarded: Guarded | None = None

    def close(self) -> None:
        """Remove what was written for this visitor."""
        self._folder.cleanup()

    def open(self, files: Sequence[str | Path], plane: str = "axial", modality: str | None = None) -> None:
        """Open one file, or the files of one DICOM series, at the middle slice.

        Raises:
            InputError: none was given, or it cannot be read; what was open stays open.
            SeveralError: they hold several images, of which `choose` opens one.
        """
        with self._lock:
            self.several = None
            self._open(list(files), plane, modality)

    @property
    def chosen(self) -> int | None:
        """Which of several images is open; none if they are not."""
        if self.several is None or self._files is not self._pending:
            return None
        return self._chosen.get(self.several.argument)

    def choose(self, number: int, plane: str = "axial", modality: str | None = None) -> None:
        """Open the one with a number of the several images that `open` found.

        Raises:
            InputError: there are none, or it cannot be read; what was open stays open.
        """
        with self._lock:
            if self.several is None:
                raise InputError("image", "no files with several images", "them to be opened first")
            self._open(self._pending, plane, modality, {self.several.argument: number})

    def reopen(self, plane: str, modality: str | None) -> None:
        """Show what is open in another plane, or windowed as another modality; nothing if nothing is open."""
        with self._lock:
            if self.image is not None:
                self._open(self._files, plane, modality, self._chosen)

    def _open(
        self, files: Sequence[str | Path], plane: str, modality: str | None, chosen: Mapping[str, int] = NOTHING
    ) -> None:
        if not files:
            raise InputError("image", "no file", "a PNG, JPEG, NIfTI or DICOM file, or all files of one series")
        path = Path(files[0]) if len(files) == 1 else self._together(files)
        try:
            image = MedicalImage.open(path, plane=plane, modality=modality, **chosen)
        except SeveralError as error:
            self.several, self._pending = error, files
            raise
        self.image, self._files, self._chosen = image, files, chosen
        self._move(image.n_slices // 2)

    def _together(self, files: Sequence[str | Path]) -> Path:
        """A folder with links to all files; where one of them is the header of a volume, that one in it."""
        folder = Path(tempfile.mkdtemp(dir=self._folder.name))
        for number, file in enumerate(files):
            link = folder / Path(file).name
            link = link.with_name(f"{number:05d}-{link.name}") if link.exists() else link
            link.symlink_to(Path(file).resolve())
        return next((path for path in folder.iterdir() if has_suffix(path, HEADERS)), folder)

    def go(self, number: int) -> None:
        """Show another slice; prompts and answer belong to the one before, and go."""
        with self._lock:
            image = self._opened()
            if number != self.number:
                image.check_slice(number)
                self._move(number)

    def _move(self, number: int) -> None:
        self.number, self._encoded = number, None
        self.clear()

    def _opened(self) -> MedicalImage:
        if self.image is None:
            raise InputError("image", "none", "an image to be opened first")
        return self.image

    @property
    def points(self) -> list[tuple[int, int, int]]:
        """(x, y, label) in pixels of the slice."""
        return [(*at, int(tool == INSIDE)) for tool, at in self.given if tool in (INSIDE, OUTSIDE)]

    @property
    def boxes(self) -> list[tuple[int, int, int, int]]:
        """(x0, y0, x1, y1) in pixels of the slice."""
        return [box for tool, box in self.given if tool == BOX]

    @property
    def scribbles(self) -> Scribbles:
        """What was brushed inside and outside, bool [h, w]; none where nothing was."""
        size = self._opened().size
        lines = []
        for brush in BRUSHES:
            strokes = [stroke for tool, stroke in self.given if tool == brush]
            drawn = Image.new("1", size[::-1])
            for stroke in strokes:
                ImageDraw.Draw(drawn).line(stroke if len(stroke) > 1 else stroke * 2, fill=1)
            lines.append(np.asarray(drawn, dtype=bool) if strokes else None)
        return lines[0], lines[1]

    def click(self, x: float, y: float, tool: str) -> None:
        """Set a prompt where the picture of `picture` was clicked.

        Raises:
            InputError: nothing is open, there are too many prompts, or the box has no area.
        """
        with self._lock:
            at = self._pixel(x, y)
            if tool in BRUSHES:
                return  # `brush` is told of it
            if tool == BOX and self.corner is None:
                self.corner = at
            elif tool == BOX and self.corner is not None:
                (x0, x1), (y0, y1) = sorted((self.corner[0], at[0])), sorted((self.corner[1], at[1]))
                self._give(BOX, (x0, y0, x1 + 1, y1 + 1))
            else:
                self._give(OUTSIDE if tool == OUTSIDE else INSIDE, at)
            self.guarded = None

    def brush(self, places: Sequence[Sequence[float]], tool: str) -> None:
        """Draw with a brush along places of the picture of `picture`; same errors as of `click`."""
        with self._lock:
            if tool in BRUSHES and places:
                self._give(tool, [self._pixel(x, y) for x, y in places[:LONGEST_STROKE]])
                self.guarded = None

    def undo(self) -> None:
        """Take the last prompt back, or the corner that was clicked for one; the answer to it goes."""
        with self._lock:
            if self.corner is not None:
                self.corner = None
            elif self.given:
                self.given.pop()
            self.guarded = None

    def _pixel(self, x: float, y: float) -> tuple[int, int]:
        """A place of the picture that is shown, in pixels of the slice."""
        h, w = self._opened().size
        return min(max(int(x / self._scale), 0), w - 1), min(max(int(y / self._scale), 0), h - 1)

    def _give(self, tool: str, prompt: Any) -> None:
        if len(self.given) >= MOST_PROMPTS:
            raise InputError(
                "prompts", f"more than {MOST_PROMPTS}", f"at most {MOST_PROMPTS} points, boxes and strokes"
            )
        self.corner = None
        self.given.append((tool, prompt))

    def clear(self) -> None:
        """Forget prompts and answer."""
        with self._lock:
            self.given, self.corner, self.guarded, self._before = [], None, None, None

    def refine(self) -> None:
        """Outline again what the last answer did, with the prompts that are there now.

        Raises:
            InputError: there is no answer with a mask yet, or the weights read no mask.
        """
        with self._lock:
            if self._before is None:
                raise InputError("mask", "none to refine", "an answer with a mask first")
            self._answer("", self._before)

    def ask(self, question: str) -> None:
        """Ask about the slice that is shown.

        Raises:
            InputError: nothing is open, or the question is empty, too long, or refers to prompts that are not there.
        """
        with self._lock:
            if len(question) > LONGEST_QUESTION:
                raise InputError("question", f"{len(question)} letters", f"at most {LONGEST_QUESTION}")
            self._answer(question)

    def _answer(self, question: str, mask_input: np.ndarray | None = None) -> None:
        image = self._opened()
        self.guarded, self.corner = None, None
        if self._encoded != self.number:
            self._predictor.set_image(image, self.number if image.is_volume else None)
            self._encoded = self.number
        answer = self._predictor.ask(question, self.points, self.boxes, self.scribbles, mask_input)
        best = max(answer.entities, key=lambda e: e.score, default=None)
        self._before = None if best is None else best.logits
        self.guarded = guard(answer, question, self._thresholds)

    def picture(self) -> np.ndarray:
        """The slice with prompts and masks, uint8 [H, W, 3], enlarged to `SHOWN` if it is smaller."""
        with self._lock:
            image = self._opened()
            masks = [] if self.guarded is None else [e.mask for e in self.guarded.answer.entities]
            pending = []
            if self.corner is not None:  # a small square, so that it can be seen
                (x, y), r = self.corner, max(1, max(image.size) // 100)
                pending.append((x - r, y - r, x + r + 1, y + r + 1))
            pixels = image.slice(self.number if image.is_volume else None)
            colors = phrase_colors(len(masks))
            for line, color in zip(self.scribbles, STROKES):
                if line is not None:
                    masks, colors = [*masks, line], [*colors, color]
            drawn = overlay(pixels, masks, colors, self.points, [*self.boxes, *pending])
            size = tuple(round(v * self._scale) for v in image.size[::-1])
            return np.asarray(Image.fromarray(drawn).resize(size))

    @property
    def _scale(self) -> float:
        """Of the picture that is shown."""
        h, w = self._opened().size
        return max(1.0, min(SHOWN[0] / w, SHOWN[1] / h))

    def files(self) -> list[Path]:
        """The answer as files: answer.json, overlay.png, labels.png (1 for the first phrase, 2 for the second, ..., in the
        colours of the page), and of a volume labels.nii.gz on the voxels of the file. Empty before there is an answer."""
        with self._lock:
            if self.guarded is None:
                return []
            image = self._opened()
            folder = Path(tempfile.mkdtemp(dir=self._folder.name))
            entities = self.guarded.answer.entities
            labels = np.zeros(image.size, dtype=np.uint8)
            for number, entity in enumerate(entities, start=1):
                labels[entity.mask] = number
            (folder / "answer.json").write_text(json.dumps(self.guarded.to_json(), indent=1))
            save_picture(self.picture(), folder / "overlay.png")
            indexed = Image.fromarray(labels, mode="P")
            indexed.putpalette([0, 0, 0, *(v for color in phrase_colors(len(entities)) for v in color)])
            indexed.save(folder / "labels.png")
            written = [folder / name for name in ("answer.json", "overlay.png", "labels.png")]
            if image.is_volume:
                written.append(folder / "labels.nii.gz")
                image.save_mask(image.to_file_grid({self.number: labels}), written[-1])
            return written
