"""Which image to label next."""

from .first import First
from .uncertainty import Uncertainty

__all__ = ["First", "Uncertainty"]
