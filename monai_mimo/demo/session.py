"""What one visitor of the demo page has: an open image, a slice, prompts on it, the last answer. The page only shows it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from threading import RLock

import numpy as np
from PIL import Image

from ..errors import InputError, SeveralError
from ..inference import MimoPredictor
from ..inference.safeguards import Guarded, Thresholds, guard
from ..transforms import MedicalImage
from ..transforms.reading import has_suffix
from ..visualize import overlay, phrase_colors, save_picture

INSIDE, OUTSIDE, BOX = TOOLS = ("point inside", "point outside", "box (two clicks)")
LONGEST_QUESTION = 500  # letters
MOST_PROMPTS = 20
HEADERS = (".mhd", ".nhdr", ".hdr")  # of volumes whose voxels are in a file of their own
NOTHING: Mapping[str, int] = {}
SHOWN = 640, 540  # (width, height) that a smaller picture is enlarged to, since Gradio shows it no larger than it is


class Session:
    """One visitor; methods may be called from several threads.

    Attributes:
        image, number: what is open, and which slice of it is shown.
        points: (x, y, label) and boxes: (x0, y0, x1, y1), in pixels of the slice.
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
        self.points: list[tuple[int, int, int]] = []
        self.boxes: list[tuple[int, int, int, int]] = []
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

    def click(self, x: float, y: float, tool: str) -> None:
        """Set a prompt where the picture of `picture` was clicked.

        Raises:
            InputError: nothing is open, there are too many prompts, or the box has no area.
        """
        with self._lock:
            image = self._opened()
            h, w = image.size
            at = min(max(int(x / self._scale), 0), w - 1), min(max(int(y / self._scale), 0), h - 1)
            if len(self.points) + len(self.boxes) >= MOST_PROMPTS:
                raise InputError("prompts", f"more than {MOST_PROMPTS}", f"at most {MOST_PROMPTS} points and boxes")
            if tool == BOX and self.corner is None:
                self.corner = at
            elif tool == BOX and self.corner is not None:
                (x0, x1), (y0, y1) = sorted((self.corner[0], at[0])), sorted((self.corner[1], at[1]))
                self.corner = None
                self.boxes.append((x0, y0, x1 + 1, y1 + 1))
            else:
                self.corner = None
                self.points.append((*at, int(tool != OUTSIDE)))
            self.guarded = None

    def clear(self) -> None:
        """Forget prompts and answer."""
        with self._lock:
            self.points, self.boxes, self.corner, self.guarded = [], [], None, None

    def ask(self, question: str) -> None:
        """Ask about the slice that is shown.

        Raises:
            InputError: nothing is open, or the question is empty, too long, or refers to prompts that are not there.
        """
        with self._lock:
            image = self._opened()
            self.guarded = None
            if len(question) > LONGEST_QUESTION:
                raise InputError("question", f"{len(question)} letters", f"at most {LONGEST_QUESTION}")
            if self._encoded != self.number:
                self._predictor.set_image(image, self.number if image.is_volume else None)
                self._encoded = self.number
            self.corner = None
            self.guarded = guard(self._predictor.ask(question, self.points, self.boxes), question, self._thresholds)

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
            drawn = overlay(pixels, masks, phrase_colors(len(masks)), self.points, [*self.boxes, *pending])
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
