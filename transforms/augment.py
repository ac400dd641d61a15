"""Random changes of a training image that leave its labels true: small moves of image and masks, and intensity.

There is no flip: left and right are part of many names.
"""

from __future__ import annotations

import math

import torch
from monai.transforms import Compose, RandAdjustContrast, RandGaussianNoise, Randomizable, RandScaleIntensity
from torch import Tensor
from torch.nn import functional as F


class RandMove(Randomizable):
    """Rotate, scale and shift an image and its masks by one random affine map about the image's middle.

    Args:
        prob: how often.
        degrees, shift, scale: the largest rotation, shift (as a fraction of the side) and relative change of size.
    """

    def __init__(self, prob: float = 0.8, degrees: float = 10, shift: float = 0.06, scale: float = 0.15) -> None:
        self.prob, self.degrees, self.shift, self.scale = prob, degrees, shift, scale

    def __call__(self, image: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Move image [3, S, S] and masks bool [K, S, S]; both stay as they are if a mask would lose a third of itself."""
        if self.R.rand() >= self.prob:
            return image, masks
        angle = math.radians(self.R.uniform(-self.degrees, self.degrees))
        size = 1 + self.R.uniform(-self.scale, self.scale)
        dx, dy = self.R.uniform(-2 * self.shift, 2 * self.shift, size=2)  # affine_grid spans -1..1
        cos, sin = math.cos(angle) / size, math.sin(angle) / size
        theta = torch.tensor([[cos, -sin, dx], [sin, cos, dy]], dtype=torch.float32)[None]
        grid = F.affine_grid(theta, [1, 1, *image.shape[1:]], align_corners=False)
        planes = torch.cat([image, masks.float()])[None]
        moved = F.grid_sample(planes, grid, mode="bilinear", align_corners=False)[0]
        moved_masks = moved[len(image) :] >= 0.5
        kept = moved_masks.sum(dim=(1, 2)) >= masks.sum(dim=(1, 2)) * size**2 * 2 / 3
        return (moved[: len(image)], moved_masks) if kept.all() else (image, masks)


def rand_intensity() -> Compose:
    """Random contrast, brightness and noise for an image [3, S, S] in 0..1; the caller clamps."""
    return Compose(
        [
            RandAdjustContrast(prob=0.5, gamma=(0.7, 1.4)),
            RandScaleIntensity(factors=0.15, prob=0.5),
            RandGaussianNoise(prob=0.3, std=0.04),
        ]
    )
