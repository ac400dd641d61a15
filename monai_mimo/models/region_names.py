"""What a region may be called: an embedding of each known name, and a classifier of what lies under a mask.

The embeddings have two uses. In pretraining they stand for the `<SEG>` state: the mask decoder learns names before any text is
read, and the LLM then only has to learn which name is meant. And they are what a region's own features are compared with, as
CLIP compares images with texts (Radford et al. 2021), so that a name can be told from what is seen and not from the question
alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from ..data.names import REGION
from .image_encoder import ImageFeatures

SURE_NAME = 0.5  # what is shown is called by its likeliest name where that is likelier than this
OUTLINED = 0.4  # and is outlined by it where that is likelier than this, whether it is called so or not
TYPICAL = 0.9  # or where it looks so much like it
MARKED = 0.3  # what is shown may be called by a name that is asked for where that is likelier than this
LIKELIEST = 8  # names are told apart by a click
LEAST = 0.005  # counts what is less likely, smaller, or holds less of a click: no outline is quite wrong
SEEN = 0.03  # what was outlined by its name is not that where the name is less likely for how it looks


class RegionNames(nn.Module):
    """Embeddings of N names and of `REGION`, which is the last.

    Args:
        names: the known names, in the order of the logits.
        width: channels D of a condition of the mask decoder.
        channels: of the feature maps that regions are pooled from, in the order of `pooled`.
    """

    def __init__(self, names: tuple[str, ...], width: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.names = (*names, REGION)
        self.embedding = nn.Embedding(len(self.names), width)
        self.norm = nn.LayerNorm(width)
        total = sum(channels)
        self.classify = nn.Sequential(
            nn.LayerNorm(3 * total + 6), nn.Linear(3 * total + 6, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.scale = nn.Parameter(torch.tensor(10.0).log())

    @property
    def region_id(self) -> int:
        return len(self.names) - 1

    def condition(self, ids: Tensor) -> Tensor:
        """Numbers of names [M] -> conditions of the mask decoder [M, D]."""
        return self.norm(self.embedding(ids))

    def embed(self, features: ImageFeatures, image_index: Tensor, masks: Tensor) -> Tensor:
        """Describe M regions, soft masks [M, g, g] in 0..1 over the images' squares -> [M, D], of length 1."""
        return F.normalize(self.classify(pooled(features, image_index, masks)), dim=1)

    def logits(self, described: Tensor) -> Tensor:
        """What `embed` gave -> logits [M, N + 1]."""
        known = F.normalize(self.norm(self.embedding.weight), dim=1)
        return self.scale.exp() * described @ known.T

    def distance(self, conditions: Tensor, ids: Tensor) -> Tensor:
        """How far conditions [M, D] are from those of names [M] that are meant: the mean square, and the cross-entropy among all
        names, which tells names apart that are near to each other."""
        known = self.norm(self.embedding.weight).detach()
        squares = torch.cdist(conditions.float(), known.float()) ** 2
        if len(ids) == 0:
            return squares.sum()
        own = squares.gather(1, ids[:, None])
        width = known.shape[1]
        return own.mean() / width + F.cross_entropy(-squares / (2 * width**0.5), ids)

    @torch.no_grad()
    def chances(self, features: ImageFeatures, image_index: Tensor, masks: Tensor) -> Tensor:
        """How likely each name is for what lies under M soft masks, as of `embed`, in 0..1: [M, N + 1]."""
        return self.logits(self.embed(features, image_index, masks)).softmax(1)

    def tell(self, chances: Tensor) -> Tensor:
        """What `chances` gave -> the number of the name of each [M]; of `REGION` where none is likely enough."""
        chance, name = chances.max(1)
        return torch.where(chance > SURE_NAME, name, self.region_id)


def told_by_clicks(chances: Tensor, likeliest: Tensor, held: Tensor, alike: Tensor, area: Tensor) -> Tensor:
    """What was clicked, told by what each of the likeliest names outlines when it is asked for alone.

    A name is as likely as its outline holds the clicks, times the root of: how much what was clicked looks like it, times how
    much its outline does, by the outline's area, as the same click is likelier in a small structure. A region without a name
    has the root of its own chance by that of these names. The powers were fitted to clicks, and rounded (docs/ablations.md).

    Args:
        chances: by the looks of what was clicked, [M, N + 1].
        likeliest: numbers of T names [M, T]; no other can be told.
        held, alike, area: of each outline the part of the clicks that it holds, the chance of its name by its looks, and the part
            of the image that it takes: [M, T] in 0..1.

    Returns:
        chances [M, N + 1].
    """
    looks = chances.gather(1, likeliest)
    typical = looks.clamp(min=LEAST) * alike.clamp(min=LEAST) / area.clamp(min=LEAST)
    unnamed = chances[:, -1:].clamp(min=LEAST) / looks.sum(1, keepdim=True).clamp(min=LEAST)
    told = torch.zeros_like(chances).scatter(1, likeliest, held.clamp(min=LEAST) * typical.sqrt())
    told[:, -1:] = unnamed.sqrt()
    return told / told.sum(1, keepdim=True)


class ShownNames(nn.Module):
    """Tells the LLM by name what a prompt shows: the mean of its embeddings of the name's words, added to the prompt's token.

    Args:
        names: in the order of their numbers.
        width: H of the LLM.
    """

    ids: Tensor

    def __init__(self, names: tuple[str, ...], tokenizer: PreTrainedTokenizerBase, width: int) -> None:
        super().__init__()
        words = [torch.tensor(tokenizer(name, add_special_tokens=False)["input_ids"]) for name in names]
        self.register_buffer(
            "ids", nn.utils.rnn.pad_sequence(words, batch_first=True, padding_value=-1), persistent=False
        )
        self.project = nn.Linear(width, width)
        nn.init.eye_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, numbers: Tensor, embed: nn.Module) -> Tensor:
        """Numbers of names [...] -> [..., H].

        Args:
            embed: the LLM's input embeddings.
        """
        ids = self.ids[numbers]
        words = embed(ids.clamp(min=0)) * (ids >= 0).unsqueeze(-1)
        return self.project((words.sum(-2) / (ids >= 0).sum(-1, keepdim=True)).to(self.project.weight.dtype))


def pooled(features: ImageFeatures, image_index: Tensor, masks: Tensor) -> Tensor:
    """Means of feature maps inside each mask, in a ring around it, and of the whole image; and the mask's place and size:
    [M, 3 C + 6] for C channels of all maps."""
    parts = []
    for maps in (features.context, *features.high_resolution, *features.fine[3:]):
        inside = F.adaptive_avg_pool2d(masks[:, None], maps.shape[-2:]).flatten(1)
        wide = F.max_pool2d(F.adaptive_avg_pool2d(masks[:, None], maps.shape[-2:]), 5, 1, 2).flatten(1)
        ring = (wide - inside).clamp(min=0)
        whole = torch.full_like(inside, 1 / inside.shape[1])
        weights = torch.stack([inside, ring, whole], dim=1)
        weights = weights / weights.sum(2, keepdim=True).clamp(min=1e-4)
        flat = maps.flatten(2).transpose(1, 2)
        # An image at a time would be a loop; M is small, and so are the maps.
        parts.append(torch.bmm(weights.to(flat.dtype), flat.index_select(0, image_index)).flatten(1))
    grid = masks.shape[-1]
    at = (torch.arange(grid, device=masks.device) + 0.5) / grid
    area = masks.mean((1, 2)).clamp(min=1e-6)
    columns, rows = masks.mean(1) / area[:, None] / grid, masks.mean(2) / area[:, None] / grid
    x, y = (columns * at).sum(1), (rows * at).sum(1)
    spread_x = ((columns * (at - x[:, None]) ** 2).sum(1)).clamp(min=0).sqrt()
    spread_y = ((rows * (at - y[:, None]) ** 2).sum(1)).clamp(min=0).sqrt()
    place = torch.stack([x, y, spread_x, spread_y, area.sqrt(), area.log() / 8], dim=1)
    return torch.cat([*parts, place.to(parts[0].dtype)], dim=1)
