"""Between the pixel grid of an image and the square that the model reads: resize the longest side, pad right and below."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class SquareResize:
    """The mapping for one image, as in SAM: what is at (0, 0) stays there, so prompts are only scaled.

    Args:
        height, width: of the image in pixels.
        side: S, of the model's input in pixels.
    """

    height: int
    width: int
    side: int

    @property
    def inner(self) -> tuple[int, int]:
        """(h, w) of the resized image inside the square."""
        scale = self.side / max(self.height, self.width)
        return max(1, round(self.height * scale)), max(1, round(self.width * scale))

    @property
    def scale(self) -> np.ndarray:
        """Factors [2] of x and y."""
        h, w = self.inner
        return np.array([w / self.width, h / self.height], dtype=np.float32)

    def image(self, pixels: np.ndarray) -> Tensor:
        """uint8 [h, w, 3] -> float [3, S, S] in 0..1, zero in the padding."""
        planes = torch.tensor(pixels).permute(2, 0, 1)[None].float() / 255
        return self._square(F.interpolate(planes, self.inner, mode="bilinear", antialias=True))[0].clamp(0, 1)

    def masks(self, masks: np.ndarray) -> Tensor:
        """bool [n, h, w] -> bool [n, S, S]."""
        if len(masks) == 0:
            return torch.zeros(0, self.side, self.side, dtype=torch.bool)
        planes = torch.tensor(masks)[None].float()
        return self._square(F.interpolate(planes, self.inner, mode="bilinear", antialias=True))[0] >= 0.5

    def line(self, line: np.ndarray) -> np.ndarray:
        """A thin drawing bool [h, w] -> bool [S, S], where none of it gets lost."""
        rows, columns = np.nonzero(line)
        drawn = np.zeros((self.side, self.side), dtype=bool)
        x, y = ((np.stack([columns, rows]) + 0.5) * self.scale[:, None]).astype(int)
        drawn[np.minimum(y, self.side - 1), np.minimum(x, self.side - 1)] = True
        return drawn

    def points(self, points: np.ndarray) -> np.ndarray:
        """Pixels (x, y) [n, 2] -> continuous coordinates of their middles in the square."""
        return ((np.asarray(points, dtype=np.float32).reshape(-1, 2) + 0.5) * self.scale).astype(np.float32)

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (x0, y0, x1, y1) [n, 4], inclusive-exclusive -> continuous corners [n, 2, 2] in the square."""
        return (np.asarray(boxes, dtype=np.float32).reshape(-1, 2, 2) * self.scale).astype(np.float32)

    def logits_to_image(self, logits: Tensor) -> Tensor:
        """Mask logits [n, g, g] on a grid of any fineness over the square -> [n, h, w] on the image's pixels."""
        if len(logits) == 0:
            return logits.new_zeros(0, self.height, self.width)
        square = F.interpolate(logits[None], (self.side, self.side), mode="bilinear")
        h, w = self.inner
        return F.interpolate(square[..., :h, :w], (self.height, self.width), mode="bilinear", antialias=True)[0]

    def _square(self, planes: Tensor) -> Tensor:
        h, w = planes.shape[-2:]
        return F.pad(planes, (0, self.side - w, 0, self.side - h))
