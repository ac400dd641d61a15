"""Visual prompts as tokens and as a map, like SAM's sparse and dense prompt embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from segment_anything.modeling.prompt_encoder import PositionEmbeddingRandom
from torch import Tensor, nn

from ..data.prompt_maps import BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, NEGATIVE, PADDING, POSITIVE


class PromptEncoder(nn.Module):
    """Encode points and box corners.

    As tokens, one each: random Fourier features of the position plus a learned embedding of the kind, as in SAM. As a map
    that is added to the image features: where the points are and what the boxes cover. SAM keeps such a dense embedding
    for mask prompts; drawn from points and boxes it lets a small model follow a prompt after minutes of training, where
    attention alone has to learn first to find a position by its Fourier features.

    Args:
        width: channels D of a token; even.
        image_size: side S of the model's square input in pixels.
        fine_maps: whether the image features come with finer maps (`ImageFeatures.high_resolution`).
    """

    def __init__(self, width: int, image_size: int, fine_maps: bool = True) -> None:
        super().__init__()
        self.image_size = image_size
        self.position = PositionEmbeddingRandom(width // 2)
        self.kind = nn.Embedding(4, width)
        self.map = nn.Conv2d(3, width, 1, bias=False)
        nn.init.normal_(self.map.weight)  # as strong as the features that it is added to
        channels = width + (width // 4 + width // 8 if fine_maps else 0)  # of `ImageFeatures`
        self.seen = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, width))

    def forward(self, coordinates: Tensor, labels: Tensor) -> Tensor:
        """Encode P prompt tokens for each of Q questions.

        Args:
            coordinates: [Q, P, 2], (x, y) in pixels of the model's input, continuous: 0.5 is the middle of the first pixel.
            labels: [Q, P], one of `data.prompt_maps`.

        Returns:
            [Q, P, D]; zero at padding.
        """
        tokens = self.position.forward_with_coords(coordinates, (self.image_size, self.image_size))
        tokens = tokens + self.kind(labels.clamp(min=0))
        return tokens * (labels != PADDING).unsqueeze(-1)

    def regions(self, coordinates: Tensor, labels: Tensor, size: tuple[int, int]) -> Tensor:
        """How far each prompt covers each cell of a feature map, in 0..1: [Q, P, h, w].

        A point covers a Gaussian of one cell's deviation, a box (at both of its corners) its inside, with edges one cell
        soft, and padding nothing.
        """
        height, width = size
        scale = coordinates.new_tensor([width, height]) / self.image_size
        x, y = (coordinates * scale).unbind(-1)
        columns = torch.arange(width, device=x.device) + 0.5
        rows = torch.arange(height, device=x.device) + 0.5
        near_x = torch.exp(-((columns - x[..., None]) ** 2) / 2)
        near_y = torch.exp(-((rows - y[..., None]) ** 2) / 2)
        points = near_y[..., :, None] * near_x[..., None, :]
        # The corner after a box's first one is its other: inside lies what is past the one and before the other.
        past_x, past_y = torch.sigmoid(4 * (columns - x[..., None])), torch.sigmoid(4 * (rows - y[..., None]))
        inside_x, inside_y = past_x - past_x.roll(-1, 1), past_y - past_y.roll(-1, 1)
        boxes = inside_y[..., :, None] * inside_x[..., None, :]
        kind = labels[..., None, None]
        out = torch.where(kind == BOX_TOP_LEFT, boxes, points)
        out = torch.where(kind == BOX_BOTTOM_RIGHT, boxes.roll(1, 1), out)
        return torch.where(kind == PADDING, 0, out)

    def dense_embeddings(self, coordinates: Tensor, labels: Tensor, size: tuple[int, int]) -> Tensor:
        """The prompts of each question as a map [Q, D, h, w] to add to image features of that size; zero without any.

        Before the learned projection it has three channels: positive points, negative points, and boxes.
        """
        covered = self.regions(coordinates, labels, size)
        kinds = (POSITIVE, NEGATIVE, BOX_TOP_LEFT)
        maps = [(covered * (labels == kind)[..., None, None]).sum(dim=1) for kind in kinds]
        return self.map(torch.stack(maps, dim=1).clamp(max=1))

    def pool_features(self, coordinates: Tensor, labels: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """What lies under each prompt: the means of feature maps over its region, projected, [Q, P, D].

        Args:
            coordinates, labels: see `forward`.
            maps: [Q, D, h, w], and with fine maps [Q, D / 4, 2h, 2w], [Q, D / 8, 4h, 4w]; in these a point covers less.
        """
        seen = []
        for features in maps:
            covered = self.regions(coordinates, labels, features.shape[2:])
            covered = covered / covered.sum(dim=(2, 3), keepdim=True).clamp(min=1e-6)
            seen.append(torch.einsum("qphw,qdhw->qpd", covered, features))
        return self.seen(torch.cat(seen, dim=-1)) * (labels != PADDING).unsqueeze(-1)

    def get_dense_pe(self, size: tuple[int, int]) -> Tensor:
        """The positional encoding [1, D, h, w] of a feature map's cells."""
        return self.position(size).unsqueeze(0)
