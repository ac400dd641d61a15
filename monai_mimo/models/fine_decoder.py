"""The fine branch of the mask decoder: prompts enter as maps, at half of the image's resolution, into convolutions that see the
image, while the `<SEG>` state says what to look for (FiLM, Perez et al. 2018).

SAM's decoder finds a prompt by the Fourier features of its position, on a coarse grid. A small model that has seen few images
learns where a prompt is from maps, as ScribblePrompt (Wong et al. 2024) does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.prompt_maps import CHANNELS


class FineNeck(nn.Module):
    """What the fine branch reads of an image, computed once for any number of masks: encoder maps of strides 2 to 32
    [B, C_i, h_i, w_i] -> as many maps [B, D_i, h_i, w_i]."""

    def __init__(self, channels: tuple[int, ...], widths: tuple[int, ...]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Conv2d(c, d, 3, padding=1) for c, d in zip(channels, widths))

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, ...]:
        return tuple(level(m) for level, m in zip(self.levels, maps))


class FineBlock(nn.Module):
    """A 3 x 3 convolution, what the image adds to it, a group norm, and scale and shift by the condition."""

    def __init__(self, channels: int, width: int, condition: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(8, width)
        self.film = nn.Linear(condition, 2 * width)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, condition: Tensor, image: Tensor | None = None) -> Tensor:
        x = self.conv(x)
        if image is not None:
            x = x + image
        scale, shift = self.film(condition)[:, :, None, None].chunk(2, dim=1)
        return torch.addcmul(shift, self.norm(x), 1 + scale).relu()


class FineDecoder(nn.Module):
    """A U-shaped network over prompt maps, joined by the image at every level of its way down.

    Args:
        widths: D_i of its five levels, of strides 2 to 32; multiples of 8.
        condition: channels D of what says which region is meant.
    """

    def __init__(self, widths: tuple[int, ...], condition: int) -> None:
        super().__init__()
        finest, *_, coarsest = widths
        self.down = nn.ModuleList(FineBlock(a, b, condition) for a, b in zip((CHANNELS, *widths), widths))
        self.middle = FineBlock(coarsest, coarsest, condition)
        self.up = nn.ModuleList(
            FineBlock(coarse + fine, fine, condition) for coarse, fine in zip(widths[:0:-1], widths[-2::-1])
        )
        self.output = nn.Conv2d(finest, 1, 1)
        nn.init.zeros_(self.output.weight)  # at the start, masks are those of SAM's decoder
        nn.init.zeros_(self.output.bias)  # type: ignore[arg-type]
        self.score = nn.Sequential(
            nn.Linear(coarsest + 2 * finest + condition, condition), nn.ReLU(), nn.Linear(condition, 1)
        )
        nn.init.zeros_(self.score[-1].weight)
        nn.init.zeros_(self.score[-1].bias)

    def forward(
        self, image: tuple[Tensor, ...], image_index: Tensor, condition: Tensor, prompts: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decode M masks in B images.

        Args:
            image: what `FineNeck` gives of the B images; image_index: [M], the image of each mask.
            condition: [M, D], the projected `<SEG>` states.
            prompts: [M, `CHANNELS`, S / 2, S / 2], see `data.prompt_maps`.

        Returns:
            what to add to the mask logits [M, S / 2, S / 2] and to the logit of their score [M].
        """
        x, skips = prompts, []
        for level, (block, features) in enumerate(zip(self.down, image)):
            x = block(F.max_pool2d(x, 2) if level else x, condition, features.index_select(0, image_index))
            skips.append(x)
        x = coarsest = self.middle(skips.pop(), condition)
        for block in self.up:
            skip = skips.pop()
            x = block(torch.cat([F.interpolate(x, skip.shape[-2:], mode="nearest"), skip], dim=1), condition)
        logits = self.output(x)
        inside = logits.detach().sigmoid()
        means = [
            (x * weight).sum((2, 3)) / weight.sum((2, 3)).clamp(min=1.0) for weight in (inside, 1 - inside)
        ]  # what is inside and outside of the mask
        score = self.score(torch.cat([coarsest.mean((2, 3)), *means, condition], dim=1))
        return logits[:, 0], score[:, 0]
