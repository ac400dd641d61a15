"""How far what the model found agrees with what people made of it."""

from .agreement import Agreement

__all__ = ["Agreement"]
