"""The weights that the server answers with, and how they are exchanged while it runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from monai_mimo.errors import WeightsError
from monai_mimo.inference import MimoPredictor
from monai_mimo.mimoseg.catalogue.vocabulary import vocabulary
from monai_mimo.models import Mimo
from monai_mimo.models.default_weights import default_weights_dir, find_weights
from monai_mimo.models.weights import fingerprint

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """Weights that are loaded, and never change; `hash` tells them from others."""

    predictor: MimoPredictor
    folder: Path
    hash: str
    labels: tuple[str, ...]

    def info(self) -> dict[str, str]:
        """What results say of it."""
        about = {"name": f"MIMO {self.predictor.model.config.preset}", "weights": self.folder.name, "hash": self.hash}
        data = self.predictor.model.training_data
        return about if data is None else {**about, "use": data.strictest}  # as the licences of its training data allow


class ModelStore:
    """The current model. Requests take `current()` once and keep it, so that an exchange never splits one.

    Args:
        folder: of the weights, or another name of them as of `find_weights`; none: the default ones.
        labels: names that are offered to viewers, instead of those that the weights know.
        device: where the model runs; none: a GPU when there is one.
    """

    def __init__(
        self, folder: str | Path | None = None, labels: Sequence[str] = (), device: str | torch.device | None = None
    ) -> None:
        self._named = str(Path(folder).expanduser()) if folder else None
        self._labels = tuple(labels)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._lock = threading.Lock()
        self._model: Model | None = None

    @property
    def folder(self) -> Path:
        """Where the weights are, or would be looked for."""
        if self._model is not None:
            return self._model.folder
        return Path(self._named) if self._named else default_weights_dir()

    def current(self) -> Model:
        """The model, loaded when first asked for; so weights that come after the start are found.

        Raises:
            WeightsError: there are none, or they are damaged.
        """
        with self._lock:
            if self._model is None:
                self._model = self._load(find_weights(self._named))
            return self._model

    def peek(self) -> Model | None:
        """The model, or none where there are no weights that can be read; then the reason is logged."""
        try:
            return self.current()
        except WeightsError as error:
            logger.warning("no answers yet: %s", error)
            return None

    def swap(self, folder: str | Path) -> Model:
        """Answer with other weights from the next request on.

        Raises:
            WeightsError: they cannot be read; then the old ones stay.
        """
        model = self._load(Path(folder))
        with self._lock:
            self._model = model
        return model

    def _load(self, folder: Path) -> Model:
        if not folder.is_dir():
            raise WeightsError(folder, "no weights", "`make train` to have run, or --conf weights DIR")
        predictor = MimoPredictor.from_pretrained(folder, self.device)
        digest = fingerprint(folder)
        labels = self._labels or offered_names(predictor.model)
        logger.info("weights %s (%s), %d labels, on %s", folder, digest, len(labels), self.device)
        return Model(predictor, folder, digest, labels)


def offered_names(model: Mimo) -> tuple[str, ...]:
    """The names that the weights say they know. Weights that do not say: the names of the vocabulary that the model's tokenizer
    writes without taking a word apart; one that came with a language model has whole words for most names, then all of them."""
    if model.config.names:
        return tuple(model.config.names)

    def whole(name: str) -> bool:
        return len(model.tokenizer(name, add_special_tokens=False)["input_ids"]) <= len(name.split())

    return tuple(name for name in vocabulary() if whole(name))
