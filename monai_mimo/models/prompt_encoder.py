"""Visual prompts as tokens and as a map, like SAM's sparse and dense prompt embeddings."""

from __future__ import annotations

import torch
from segment_anything.modeling.prompt_encoder import PositionEmbeddingRandom
from torch import Tensor, nn

from ..data.prompts import BOX_TOP_LEFT, NEGATIVE, PADDING, POSITIVE


class PromptEncoder(nn.Module):
    """Encode points and box corners.

    As tokens, one each: random Fourier features of the position plus a learned embedding of the kind, as in SAM. As a map
    that is added to the image features: where the points are and what the boxes cover. SAM keeps such a dense embedding
    for mask prompts; drawn from points and boxes it lets a small model follow a prompt after minutes of training, where
    attention alone has to learn first to find a position by its Fourier features.

    Args:
        width: channels D of a token; even.
        image_size: side S of the model's square input in pixels.
    """

    def __init__(self, width: int, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size
        self.position = PositionEmbeddingRandom(width // 2)
        self.kind = nn.Embedding(4, width)
        self.map = nn.Conv2d(3, width, 1, bias=False)

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

    def dense(self, coordinates: Tensor, labels: Tensor, size: tuple[int, int]) -> Tensor:
        """The prompts of each question as a map [Q, D, h, w] to add to image features of that size; zero without any.

        Its three channels before the learned projection: positive points, negative points (Gaussians of one cell's
        deviation), and the inside of boxes (with edges one cell soft).
        """
        height, width = size
        scale = coordinates.new_tensor([width, height]) / self.image_size
        x, y = (coordinates * scale).unbind(-1)
        columns = torch.arange(width, device=x.device) + 0.5
        rows = torch.arange(height, device=x.device) + 0.5
        near_x = torch.exp(-((columns - x[..., None]) ** 2) / 2)
        near_y = torch.exp(-((rows - y[..., None]) ** 2) / 2)
        bumps = near_y[..., :, None] * near_x[..., None, :]
        # The corner after a box's first one is its other: inside lies what is past the one and before the other.
        past_x, past_y = torch.sigmoid(4 * (columns - x[..., None])), torch.sigmoid(4 * (rows - y[..., None]))
        inside_x, inside_y = past_x - past_x.roll(-1, 1), past_y - past_y.roll(-1, 1)
        covers = inside_y[..., :, None] * inside_x[..., None, :]
        maps = [
            (planes * (labels == kind)[..., None, None]).sum(dim=1)
            for planes, kind in ((bumps, POSITIVE), (bumps, NEGATIVE), (covers, BOX_TOP_LEFT))
        ]
        return self.map(torch.stack(maps, dim=1).clamp(max=1))

    def grid(self, size: tuple[int, int]) -> Tensor:
        """The positional encoding [1, D, h, w] of a feature map's cells."""
        return self.position(size).unsqueeze(0)
