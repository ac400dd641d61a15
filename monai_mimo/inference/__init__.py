"""Asking a trained model."""

from .answer import Answer, Entity
from .phrase_network import PhraseNetwork
from .predictor import MimoPredictor

__all__ = ["Answer", "Entity", "MimoPredictor", "PhraseNetwork"]
