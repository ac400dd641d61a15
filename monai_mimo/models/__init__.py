"""The model: encoders, prompt encoder, input aligner, language model and mask decoder, put together in `mimo`."""

from .config import MimoConfig, load_preset, preset_names
from .mimo import Answers, Mimo, Prediction

__all__ = ["Answers", "Mimo", "MimoConfig", "Prediction", "load_preset", "preset_names"]
