"""Random changes of a training image that leave its labels true: moves of image and masks, and intensity.

Images are mirrored only where anatomy allows (`MIRRORS`), and never by a caller for whom left and right are part of a name.
"""

from __future__ import annotations

import math

import torch
from monai.transforms import (
    Compose,
    RandAdjustContrast,
    RandGaussianNoise,
    RandGaussianSmooth,
    Randomizable,
    RandScaleIntensity,
)
from torch import Tensor
from torch.nn import functional as F

# (left-right, up-down): an endoscope and a dermatoscope know neither, an ultrasound probe is held either way round.
MIRRORS = {"endoscopy": (True, True), "dermoscopy": (True, True), "ultrasound": (True, False)}


class RandMove(Randomizable):
    """Rotate, scale, shift, bend and mirror an image and its masks by one random map.

    Args:
        prob: how often.
        degrees, shift, scale: the largest rotation, shift (as a fraction of the side) and relative change of size.
        bend: the standard deviation of an elastic deformation, as a fraction of the side, on a grid of 5 x 5 knots; it is
            drawn for half of the images that are moved.
    """

    def __init__(
        self, prob: float = 0.8, degrees: float = 10, shift: float = 0.06, scale: float = 0.15, bend: float = 0.0
    ) -> None:
        self.prob, self.degrees, self.shift, self.scale, self.bend = prob, degrees, shift, scale, bend

    def __call__(
        self, image: Tensor, masks: Tensor, mirror: tuple[bool, bool] = (False, False)
    ) -> tuple[Tensor, Tensor]:
        """Move image [3, S, S] and masks bool [K, S, S]; both are at most mirrored if a mask would lose a third of itself.

        Args:
            mirror: whether left and right, and up and down, may be exchanged; where both, rows and columns may be too.
        """
        swaps = [axis for axis, allowed in ((-1, mirror[0]), (-2, mirror[1])) if allowed and self.R.rand() < 0.5]
        image, masks = image.flip(swaps), masks.flip(swaps)
        if all(mirror) and self.R.rand() < 0.5:
            image, masks = image.transpose(-1, -2), masks.transpose(-1, -2)
        if self.R.rand() >= self.prob:
            return image, masks
        angle = math.radians(self.R.uniform(-self.degrees, self.degrees))
        size = 1 + self.R.uniform(-self.scale, self.scale)
        dx, dy = self.R.uniform(-2 * self.shift, 2 * self.shift, size=2)  # affine_grid spans -1..1
        cos, sin = math.cos(angle) / size, math.sin(angle) / size
        theta = torch.tensor([[cos, -sin, dx], [sin, cos, dy]], dtype=torch.float32)[None]
        grid = F.affine_grid(theta, [1, 1, *image.shape[1:]], align_corners=False)
        if self.bend and self.R.rand() < 0.5:
            knots = torch.from_numpy(self.R.normal(0, 2 * self.bend, size=(1, 2, 5, 5))).float()
            grid = grid + F.interpolate(knots, image.shape[1:], mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
        planes = torch.cat([image, masks.float()])[None]
        moved = F.grid_sample(planes, grid, mode="bilinear", align_corners=False)[0]
        moved_masks = moved[len(image) :] >= 0.5
        kept = moved_masks.sum(dim=(1, 2)) >= masks.sum(dim=(1, 2)) * size**2 * 2 / 3
        return (moved[: len(image)], moved_masks) if kept.all() else (image, masks)


def rand_intensity(strong: bool = False) -> Compose:
    """Random contrast, brightness and noise for an image [3, S, S] in 0..1; the caller clamps. `strong` changes more, and
    blurs."""
    if not strong:
        return Compose(
            [
                RandAdjustContrast(prob=0.5, gamma=(0.7, 1.4)),
                RandScaleIntensity(factors=0.15, prob=0.5),
                RandGaussianNoise(prob=0.3, std=0.04),
            ]
        )
    return Compose(
        [
            RandAdjustContrast(prob=0.7, gamma=(0.6, 1.7)),
            RandScaleIntensity(factors=0.25, prob=0.5),
            RandGaussianSmooth(sigma_x=(0.3, 1.2), sigma_y=(0.3, 1.2), prob=0.15),
            RandGaussianNoise(prob=0.3, std=0.05),
        ]
    )


def rand_color() -> RandScaleIntensity:
    """Random brightness of each channel of a colour image, as another lamp or white balance gives it."""
    return RandScaleIntensity(factors=0.12, prob=0.5, channel_wise=True)
