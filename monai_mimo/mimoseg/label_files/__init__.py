"""Reading the files that hold masks, a file for each kind of them."""

from .masks import Masks
from .read import read_masks

__all__ = ["Masks", "read_masks"]
