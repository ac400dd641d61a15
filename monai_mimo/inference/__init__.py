"""Asking a trained model."""

from .answer import Answer, Entity
from .phrase_network import PhraseNetwork
from .predictor import EncodedImage, MimoPredictor

__all__ = ["Answer", "EncodedImage", "Entity", "MimoPredictor", "PhraseNetwork"]
