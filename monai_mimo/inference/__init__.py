"""Asking a trained model."""

from .answer import Answer, Entity
from .predictor import MimoPredictor

__all__ = ["Answer", "Entity", "MimoPredictor"]
