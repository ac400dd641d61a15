"""Visual prompts as tokens: random Fourier features of a position plus a learned embedding of its kind (SAM)."""

from __future__ import annotations

from segment_anything.modeling.prompt_encoder import PositionEmbeddingRandom
from torch import Tensor, nn

from ..data.prompts import PADDING


class PromptEncoder(nn.Module):
    """Encode points and box corners, one token each.

    Args:
        width: channels D of a token; even.
        image_size: side S of the model's square input in pixels.
    """

    def __init__(self, width: int, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size
        self.position = PositionEmbeddingRandom(width // 2)
        self.kind = nn.Embedding(4, width)

    def forward(self, coordinates: Tensor, labels: Tensor) -> Tensor:
        """Encode P prompt tokens for each of Q questions.

        Args:
            coordinates: [Q, P, 2], (x, y) in pixels of the model's input, continuous: 0.5 is the middle of the first pixel.
            labels: [Q, P], one of `data.prompts`.

        Returns:
            [Q, P, D]; zero at padding.
        """
        tokens = self.position.forward_with_coords(coordinates, (self.image_size, self.image_size))
        tokens = tokens + self.kind(labels.clamp(min=0))
        return tokens * (labels != PADDING).unsqueeze(-1)

    def grid(self, size: tuple[int, int]) -> Tensor:
        """The positional encoding [1, D, h, w] of a feature map's cells."""
        return self.position(size).unsqueeze(0)
