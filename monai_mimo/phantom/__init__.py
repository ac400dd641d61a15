"""A labelled data set that is drawn by code, to try everything without data of one's own."""

from .writer import write_phantom

__all__ = ["write_phantom"]
