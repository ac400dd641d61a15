"""The model: encoders, prompt encoder, input aligner, language model and mask decoder, put together in `mimo`."""

from .config import MimoConfig
from .mimo import Mimo
from .outputs import Answers, Prediction
from .preset import load_preset, preset_names

__all__ = ["Answers", "Mimo", "MimoConfig", "Prediction", "load_preset", "preset_names"]
