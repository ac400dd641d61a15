"""Medical images, masks and prompts, brought to what MIMO reads."""

from typing import TYPE_CHECKING

from monai_mimo.lazy import lazy

if TYPE_CHECKING:
    from .augment import RandMove, rand_intensity
    from .dictionary import ReadSliced, WindowByModalityd
    from .medical_image import MedicalImage
    from .prompts import PromptTarget, sample_box, sample_point
    from .reading import read_grid
    from .resize import SquareResize
    from .slices import select_slices
    from .window import window

__all__ = [
    "MedicalImage",
    "PromptTarget",
    "RandMove",
    "ReadSliced",
    "SquareResize",
    "WindowByModalityd",
    "rand_intensity",
    "read_grid",
    "sample_box",
    "sample_point",
    "select_slices",
    "window",
]

lazy(
    __name__,
    {
        "RandMove": "augment",
        "rand_intensity": "augment",
        "MedicalImage": "medical_image",
        "PromptTarget": "prompts",
        "sample_box": "prompts",
        "sample_point": "prompts",
        "read_grid": "reading",
        "ReadSliced": "dictionary",
        "SquareResize": "resize",
        "select_slices": "slices",
        "window": "window",
        "WindowByModalityd": "dictionary",
    },
)
