"""What the server can learn from the labels that people saved."""

from .mimo import MimoTrain

__all__ = ["MimoTrain"]
