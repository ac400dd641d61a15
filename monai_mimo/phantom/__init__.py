"""A labelled data set that is drawn by code, to try everything without data of one's own."""

from .draw_pictures import draw_chest
from .writer import write_phantom

__all__ = ["draw_chest", "write_phantom"]
