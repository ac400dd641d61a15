"""The model: encoders, prompt encoder, input aligner, language model and mask decoder, put together in `mimo`."""

from ..lazy import import_below

import_below("segment_anything", "modeling")  # not its mask generator, which needs torchvision

from .config import MimoConfig  # noqa: E402
from .mimo import Mimo  # noqa: E402
from .outputs import Answers, Prediction  # noqa: E402
from .preset import load_preset, preset_names  # noqa: E402

__all__ = ["Answers", "Mimo", "MimoConfig", "Prediction", "load_preset", "preset_names"]
