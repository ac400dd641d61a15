"""Medical images, masks and prompts, brought to what MIMO reads."""

from .augment import RandMove, rand_intensity
from .medical_image import MedicalImage
from .prompts import PromptTarget, sample_box, sample_point
from .reading import read_grid
from .resize import SquareResize
from .slices import select_slices
from .window import WindowByModalityd, window

__all__ = [
    "MedicalImage",
    "PromptTarget",
    "RandMove",
    "SquareResize",
    "WindowByModalityd",
    "rand_intensity",
    "read_grid",
    "sample_box",
    "sample_point",
    "select_slices",
    "window",
]
