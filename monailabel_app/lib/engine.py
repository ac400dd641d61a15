"""Where all tasks get their answers: opened images, features that are kept, and the model, with one request at a time."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from monai_mimo.errors import MimoError
from monai_mimo.inference import Answer, EncodedImage
from monai_mimo.inference import question as prompted
from monai_mimo.inference.encoded_volume import EncodedVolume
from monai_mimo.inference.volume_answer import VolumeAnswer
from monai_mimo.transforms import MedicalImage

from .model import Model, ModelStore
from .request_limits import Limits
from .study_image import StudyImage, open_study_image

Value = TypeVar("Value")


class LRUCache(Generic[Value]):
    """Thread-safe. What several threads ask for at once is made once; the others wait for it.

    Args:
        max_bytes: of all values together; 0 keeps nothing. A value that alone is larger is given but not kept.
        size_of: bytes of a value.
    """

    def __init__(self, max_bytes: int, size_of: Callable[[Value], int]) -> None:
        self.max_bytes, self._size_of = max_bytes, size_of
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._making: dict[Hashable, Future[Value]] = {}
        self.nbytes = self.hits = self.misses = 0

    def __contains__(self, key: Hashable) -> bool:
        """Whether a value is there, or on its way; asking does not count as a use."""
        with self._lock:
            return key in self._values or key in self._making

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of `key`, made by `make` if it is not there. An error of `make` goes to all who wait for it."""
        with self._lock:
            if key in self._values:
                self.hits += 1
                self._values.move_to_end(key)
                return self._values[key][0]
            self.misses += 1
            making = self._making.get(key)
            mine = making is None
            if making is None:
                making = self._making[key] = Future()
        if not mine:
            return making.result()
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                del self._making[key]
            making.set_exception(error)
            raise
        self._keep(key, value)
        making.set_result(value)
        return value

    def drop(self, keep: Callable[[Hashable], bool]) -> None:
        """Forget all keys but those that `keep` is true for."""
        with self._lock:
            for key in [k for k in self._values if not keep(k)]:
                self.nbytes -= self._values.pop(key)[1]

    def _keep(self, key: Hashable, value: Value) -> None:
        size = self._size_of(value)
        with self._lock:
            del self._making[key]
            if size > self.max_bytes:
                return
            self._values[key] = value, size
            self.nbytes += size
            while self.nbytes > self.max_bytes:
                self.nbytes -= self._values.popitem(last=False)[1][1]


logger = logging.getLogger(__name__)

AnyQuestion = prompted.Question | tuple[str, Sequence[Sequence[float]], Sequence[Sequence[float]]]
MANY = 16  # questions in one batch
VOLUMES = 2  # whose features are kept


@dataclass(frozen=True)
class CacheSizes:
    """Bounds of memory in bytes, and how many slices on each side of one that was asked about are prepared."""

    features: int = 1 << 30
    images: int = 1 << 30
    neighbours: int = 2


class Engine:
    """Answers questions about slices of the study's images. All tasks share one, and so its caches.

    Args:
        models: the current weights.
        sizes: of the caches.
        limits: what may be opened.
    """

    def __init__(self, models: ModelStore, sizes: CacheSizes | None = None, limits: Limits | None = None) -> None:
        self.models, self.sizes, self.limits = models, sizes or CacheSizes(), limits or Limits()
        self.images: LRUCache[StudyImage] = LRUCache(self.sizes.images, lambda image: image.nbytes)
        self.features: LRUCache[EncodedImage] = LRUCache(self.sizes.features, lambda encoded: encoded.nbytes)
        self._volumes: OrderedDict[tuple[object, str], EncodedVolume] = OrderedDict()
        self._listing = threading.Lock()  # of the volumes
        self._lock = PriorityLock()
        self._to_prefetch: queue.LifoQueue[tuple[Model, StudyImage, int]] = queue.LifoQueue()
        self._stop = threading.Event()
        self._prefetcher: threading.Thread | None = None

    def open(self, path: str | Path, plane: str = "auto") -> StudyImage:
        """An image of the studies, kept while there is room.

        Raises:
            InputError: it cannot be read, or is larger than the limits allow.
        """
        path = Path(path)
        return self.images.get((str(path), plane, _state(path)), lambda: open_study_image(path, plane, self.limits))

    def ask(
        self,
        model: Model,
        image: StudyImage,
        slice: int,
        questions: Sequence[AnyQuestion],
        prefetch: bool = True,
        background: bool = False,
    ) -> list[Answer]:
        """Ask about one slice.

        Args:
            model: of `models.current()`.
            slice: in the order of `MedicalImage`.
            questions: each with points (x, y, label) and boxes (x0, y0, x1, y1) in pixels of the slice, and perhaps scribbles.
            prefetch: prepare the neighbours of the slice when there is time.
            background: let all requests go first.
        """
        answers: list[Answer] = []
        with self._lock.hold(background):
            encoded = self._encode(model, image, slice)
            for start in range(0, len(questions), MANY):
                answers += model.predictor.ask_many(encoded, questions[start : start + MANY])
        if prefetch:
            self._prefetch(model, image, slice)
        return answers

    def ask_volume(
        self,
        model: Model,
        image: StudyImage,
        question: str = "",
        points: Sequence[Sequence[float]] = (),
        boxes: Sequence[Sequence[float]] = (),
        scribbles: np.ndarray | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> VolumeAnswer:
        """Ask about a whole volume, as of `MimoPredictor.ask_volume`. Between batches of slices others get their turn."""

        def done(slices: int, total: int) -> None:
            if progress is not None:
                progress(slices, total)
            self._lock.let_others()

        with self.computing():
            volume = self.volume(model, image)
            return model.predictor.ask_about_volume(volume, question, points, boxes, scribbles, progress=done)

    def computing(self) -> contextlib.AbstractContextManager[None]:
        """While this is held nobody else computes; to be held where a volume's features are used."""
        return self._lock.hold()

    def volume(self, model: Model, image: StudyImage) -> EncodedVolume:
        """A volume whose slices are encoded when they are needed. The features of the last few volumes are kept.

        Raises:
            InputError: a picture, or pages without a place in space.
        """
        key = (image.key, model.hash)
        with self._listing:
            if key not in self._volumes:
                self._volumes[key] = model.predictor.encode_volume(image.shown, self.sizes.features // VOLUMES)
            self._volumes.move_to_end(key)
            while len(self._volumes) > VOLUMES:
                self._volumes.popitem(last=False)[1].forget()
            return self._volumes[key]

    @property
    def closed(self) -> bool:
        """Whether work in the background is to end."""
        return self._stop.is_set()

    def close(self) -> None:
        """Stop preparing slices."""
        self._stop.set()
        if self._prefetcher is not None:
            self._prefetcher.join()

    def _encode(self, model: Model, image: StudyImage, slice: int) -> EncodedImage:
        return self.features.get(
            (image.key, slice, model.hash), lambda: model.predictor.encode(image.shown, _number(image.shown, slice))
        )

    def _prefetch(self, model: Model, image: StudyImage, slice: int) -> None:
        """Queue the neighbours; the nearest are put last, since the thread takes the last ones first."""
        if self.sizes.features == 0:
            return
        for distance in range(self.sizes.neighbours, 0, -1):
            for neighbour in (slice - distance, slice + distance):
                if 0 <= neighbour < image.shown.n_slices:
                    self._to_prefetch.put((model, image, neighbour))
        if self._prefetcher is None and self.sizes.neighbours > 0:
            self._prefetcher = threading.Thread(target=self._prepare, name="mimo-prefetch", daemon=True)
            self._prefetcher.start()

    def _prepare(self) -> None:
        with contextlib.suppress(AttributeError, OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)  # of this thread alone, on Linux
        while not self._stop.is_set():
            try:
                model, image, slice = self._to_prefetch.get(timeout=0.5)
            except queue.Empty:
                continue
            while self._to_prefetch.qsize() > 64:  # what was asked for long ago
                with contextlib.suppress(queue.Empty):
                    self._to_prefetch.queue.pop(0)
            if (image.key, slice, model.hash) in self.features:
                continue
            try:
                with self._lock.hold(background=True):
                    self._encode(model, image, slice)
            except (MimoError, RuntimeError, MemoryError) as error:
                logger.warning("could not prefetch a slice: %s", error)


class PriorityLock:
    """A lock that requests get before background work.

    One computation runs at a time: the processor's cores already work together on one request; two would only share them.
    """

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._busy = False
        self._waiting = 0

    def let_others(self) -> None:
        """By who holds it: let go and wait again if a request waits."""
        with self._free:
            if not self._waiting:
                return
            self._busy = False
            self._free.notify_all()
            self._free.wait(timeout=0.01)  # so that the one that waits sees it first
            self._waiting += 1
            try:
                self._free.wait_for(lambda: not self._busy)
            finally:
                self._waiting -= 1
            self._busy = True

    @contextlib.contextmanager
    def hold(self, background: bool = False) -> Iterator[None]:
        """Hold the lock; `background` waits until no request waits for it."""
        with self._free:
            self._waiting += not background
            try:
                self._free.wait_for(lambda: not self._busy and not (background and self._waiting))
            finally:
                self._waiting -= not background
            self._busy = True
        try:
            yield
        finally:
            with self._free:
                self._busy = False
                self._free.notify_all()


def _number(image: MedicalImage, slice: int) -> int | None:
    return slice if image.is_volume else None


def _state(path: Path) -> tuple[int, int]:
    """Changes when a file, or what is in a folder, is exchanged."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size
