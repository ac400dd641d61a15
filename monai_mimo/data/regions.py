"""Images with every region that is known of them, for training the mask decoder without text.

An item is one view of an image (turned, mirrored, bent, often zoomed in) with several targets that must give different masks:
named structures with and without prompts, regions that have no name, and names that are not there. So one pass of the encoder
serves many questions, and a prompt has to be believed, for nothing else tells which region is meant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator, default_rng
from scipy import ndimage
from skimage.segmentation import felzenszwalb, slic
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from ..transforms.prompts import tight_box
from .names import REGION
from .prompt_maps import RegionPrompts, prompt_batch
from .region_images import STORED, RegionImage
from .simulated_prompts import simulate

SMALLEST = 10  # pixels of a target in the model's square
CHAMBERS = ("ventric", "atri", "myocard")  # left and right of them are not sides of the picture

# How often a target is: a named structure without a prompt; with one; a labelled structure that is only pointed at; a region
# without a name; a name that is not there.
REGION_KINDS = {"named": 0.32, "named with prompt": 0.14, "pointed": 0.17, "region": 0.26, "absent": 0.11}


@dataclass
class Target:
    """One region to be found: its mask bool [S, S] (empty where a name is absent), the prompts, the name that is asked for or
    `REGION`, and what it is called."""

    mask: np.ndarray
    prompts: RegionPrompts
    asked: str
    called: str


@dataclass
class RegionBatch:
    """B images [B, 3, S, S] in 0..1 and M targets: image_index [M], masks bool [M, S, S], asked and called [M] (numbers of
    names), prompt maps [M, 5, S / 2, S / 2], and the prompts as tokens, coordinates [M, P, 2] and labels [M, P]
    (`data.prompt_maps`)."""

    images: Tensor
    image_index: Tensor
    masks: Tensor
    asked: Tensor
    called: Tensor
    maps: Tensor
    coordinates: Tensor
    labels: Tensor


class RegionDataset(Dataset):
    """Item n is the batch of step n: known from n and the seed alone, so a run that was stopped goes on where it stood.

    Args:
        images: to draw from.
        names: the known names.
        side: S of the model.
        images_per_batch, targets_per_image: sizes of a batch.
        zoom: the share of views that are zoomed in on a target.
        kinds: how often each kind of target is drawn, see `REGION_KINDS`.
        set_power: a set of n images is drawn as often as n to this power says.
        shares: how often images of a source are drawn relative to others, 1 where it is not named.
    """

    def __init__(
        self,
        images: Sequence[RegionImage],
        names: Sequence[str],
        side: int,
        *,
        images_per_batch: int = 12,
        targets_per_image: int = 4,
        seed: int = 0,
        zoom: float = 0.35,
        kinds: Mapping[str, float] = REGION_KINDS,
        set_power: float = 0.5,
        shares: Mapping[str, float] | None = None,
        length: int = 10**9,
    ) -> None:
        self.images, self.side, self.seed, self.zoom, self.length = images, side, seed, zoom, length
        self.images_per_batch, self.targets_per_image = images_per_batch, targets_per_image
        self.ids = {name: number for number, name in enumerate((*names, REGION))}
        self.kinds = {kind: kinds.get(kind, 0.0) for kind in REGION_KINDS}
        sources: dict[str, list[int]] = {}
        for number, image in enumerate(images):
            sources.setdefault(image.source, []).append(number)
        self.sources = list(sources.values())
        weights = np.array([len(s) ** set_power * (shares or {}).get(name, 1.0) for name, s in sources.items()])
        self.chances = weights / weights.sum()
        self._superpixels: dict[tuple[int, int], np.ndarray] = {}

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, step: int) -> RegionBatch:
        rng = default_rng((self.seed, step))
        views: list[Tensor] = []
        targets: list[Target] = []
        index: list[int] = []
        for _ in range(self.images_per_batch):
            source = self.sources[rng.choice(len(self.sources), p=self.chances)]
            view, found = self.view(int(rng.choice(source)), rng)
            targets += found
            index += [len(views)] * len(found)
            views.append(view)
        return self._collate(views, targets, index)

    def view(self, number: int, rng: Generator) -> tuple[Tensor, list[Target]]:
        """A random view [3, S, S] of an image, and targets in it."""
        image = self.images[number]
        planes = [image.mask(n) for n in range(len(image.names))]
        alike = self._superpixel_map(number, int(rng.integers(2)))
        focus = None
        if rng.random() < self.zoom:
            focus = (
                planes[rng.integers(len(planes))]
                if planes and rng.random() < 0.75
                else alike == random_superpixel(alike, rng)
            )
        grid, mirrored = view_grid(image.inner, self.side, rng, focus)
        pixels = torch.from_numpy(image.pixels).float().div_(255)
        pixels = pixels.permute(2, 0, 1) if pixels.ndim == 3 else pixels[None]
        padding = "zeros" if rng.random() < 0.7 else "border"
        shown = F.grid_sample(pixels[None], grid, padding_mode=padding, align_corners=False)[0]
        shown = change_intensity(shown, rng)
        names = [swap_sides(name, self.ids) if mirrored else name for name in image.names]
        masks = np.zeros((0, self.side, self.side), dtype=bool)
        if planes:
            stack = torch.from_numpy(np.stack(planes)).float()[None]
            masks = (F.grid_sample(stack, grid, align_corners=False)[0] >= 0.5).numpy()
        pixels_of = torch.from_numpy(alike.astype(np.float32))[None, None] + 1
        regions = F.grid_sample(pixels_of, grid, mode="nearest", align_corners=False)[0, 0].numpy().astype(int) - 1
        absent = [swap_sides(name, self.ids) if mirrored else name for name in image.absent]
        return shown, self._targets(names, masks, regions, absent, focus is not None, rng)

    def _superpixel_map(self, number: int, variant: int) -> np.ndarray:
        """Superpixels of an image, int16 [S0, S0]; two variants of each image are kept."""
        key = number, variant
        if key not in self._superpixels:
            pixels = self.images[number].pixels
            grey = (pixels if pixels.ndim == 2 else pixels.mean(-1))[::2, ::2] / 255.0
            small = superpixels(grey, default_rng((self.seed, number, variant)))
            self._superpixels[key] = small.repeat(2, 0).repeat(2, 1)
        return self._superpixels[key]

    def _targets(
        self, names: list[str], masks: np.ndarray, regions: np.ndarray, absent: list[str], zoomed: bool, rng: Generator
    ) -> list[Target]:
        big_enough = [n for n, mask in enumerate(masks) if mask.sum() >= SMALLEST]
        chances = np.array(list(self.kinds.values()))
        if not big_enough:
            chances = chances * [0, 0, 0, 1, 1]
        if not absent:
            chances = chances * [1, 1, 1, 1, 0]
        if not chances.any():
            chances = np.array([kind == "region" for kind in self.kinds])
        targets: list[Target] = []
        unseen = list(big_enough)  # each structure once, before one is asked for again
        for _ in range(self.targets_per_image):
            kind = list(self.kinds)[rng.choice(len(chances), p=chances / chances.sum())]
            if kind == "absent":
                name = absent[rng.integers(len(absent))]
                targets.append(Target(np.zeros_like(regions, dtype=bool), RegionPrompts(), name, name))
                continue
            if kind == "region":
                found = self._region(names, masks, regions, rng)
                if found is not None:
                    targets.append(Target(found[0], simulate(found[0], rng), REGION, found[1]))
                continue
            unseen = unseen or list(big_enough)
            n = unseen.pop(int(rng.integers(len(unseen))))
            name, mask = names[n], masks[n]
            if kind == "named":
                prompts = RegionPrompts()
                if zoomed and rng.random() < 0.5:
                    prompts.logits = rough_logits(mask, rng)  # as the first look saw it
                targets.append(Target(mask, prompts, name, name))
            elif kind == "named with prompt":
                prompts = simulate(mask, rng)
                other = [k for k in big_enough if k != n]
                if other and rng.random() < 0.25:  # a question about two things points at both
                    also = simulate(
                        masks[other[rng.integers(len(other))]], rng, kind="box" if prompts.boxes else "click"
                    )
                    prompts.boxes += also.boxes
                    prompts.points += also.points
                targets.append(Target(mask, prompts, name, name))
            else:
                part = one_part(mask, rng) if rng.random() < 0.3 else None
                drawn = "box" if rng.random() < 0.7 else "scribble"
                prompts = simulate(mask, rng) if part is None else simulate(part, rng, kind=drawn)
                if zoomed and rng.random() < 0.3:
                    prompts.logits = rough_logits(mask if part is None else part, rng)
                targets.append(Target(mask if part is None else part, prompts, REGION, name))
        return targets

    def _region(
        self, names: list[str], masks: np.ndarray, regions: np.ndarray, rng: Generator
    ) -> tuple[np.ndarray, str] | None:
        """A region without a name, and what it is called after all where it meets a structure."""
        for _ in range(4):
            mask = regions == random_superpixel(regions, rng)
            if rng.random() < 0.3:
                mask |= regions == random_superpixel(regions, rng)
            if len(masks) > 1 and rng.random() < 0.15:  # several structures together
                some = rng.random(len(masks)) < 0.6
                mask = masks[some].any(0) if some.any() else mask
            elif len(masks) and rng.random() < 0.15:  # what is around them
                mask = mask & ~masks.any(0)
            if not 2 * SMALLEST <= mask.sum() <= 0.85 * mask.size:
                continue
            for name, known in zip(names, masks):
                overlap = (known & mask).sum() / max((known | mask).sum(), 1)
                if overlap > 0.6:
                    return mask, name
            return mask, REGION
        return None

    def _collate(self, views: list[Tensor], targets: list[Target], index: list[int]) -> RegionBatch:
        coordinates, labels, maps = map(torch.from_numpy, prompt_batch([t.prompts for t in targets], self.side))
        return RegionBatch(
            images=torch.stack(views),
            image_index=torch.tensor(index),
            masks=torch.from_numpy(np.stack([t.mask for t in targets])),
            asked=torch.tensor([self.ids[t.asked] for t in targets]),
            called=torch.tensor([self.ids[t.called] for t in targets]),
            maps=maps,
            coordinates=coordinates,
            labels=labels,
        )


def superpixels(grey: np.ndarray, rng: Generator) -> np.ndarray:
    """Regions of an image [h, w] in 0..1 that look alike, of a random size: int16 [h, w]."""
    grey = ndimage.gaussian_filter(grey, rng.uniform(0.5, 2))
    if rng.random() < 0.5:
        found = felzenszwalb(grey, scale=rng.uniform(50, 400), sigma=0, min_size=int(rng.choice([20, 40, 80])))
    else:
        found = slic(
            grey, n_segments=int(rng.choice([8, 16, 32, 64])), compactness=rng.uniform(0.02, 0.15), channel_axis=None
        )
    return found.astype(np.int16)


def random_superpixel(regions: np.ndarray, rng: Generator) -> int:
    """A superpixel, the larger the likelier: that of a random pixel."""
    place = rng.integers(regions.size)
    return int(regions.flat[place])


def one_part(mask: np.ndarray, rng: Generator) -> np.ndarray | None:
    """One connected part of a mask that has several."""
    parts, count = ndimage.label(mask)
    if count < 2:
        return None
    sizes = np.bincount(parts.ravel())[1:]
    fitting = np.flatnonzero(sizes >= SMALLEST)
    return parts == 1 + rng.choice(fitting) if len(fitting) else None


def rough_logits(mask: np.ndarray, rng: Generator) -> np.ndarray:
    """The logits of a first look that saw a mask from afar: coarse, a little moved, grown or shrunk."""
    cell = int(rng.integers(2, 7))
    small = mask[: mask.shape[0] // cell * cell, : mask.shape[1] // cell * cell]
    small = small.reshape(small.shape[0] // cell, cell, -1, cell).mean((1, 3))
    coarse = ndimage.zoom(small, np.array(mask.shape) / small.shape, order=1, grid_mode=True, mode="nearest")
    coarse = ndimage.shift(coarse, rng.normal(0, cell / 2, 2), order=1)
    return (12 * (coarse - rng.uniform(0.25, 0.7)) + rng.normal(0, 0.5)).astype(np.float32)


def swap_sides(name: str, known: Mapping[str, int]) -> str:
    """The name of the structure in a mirrored image: left and right change places, but not of the chambers of the heart."""
    if any(part in name for part in CHAMBERS):
        return name
    words = {"left": "right", "right": "left"}
    other = " ".join(words.get(word, word) for word in name.split())
    return other if other in known else name


def view_grid(inner: tuple[int, int], side: int, rng: Generator, focus: np.ndarray | None) -> tuple[Tensor, bool]:
    """The sampling grid [1, S, S, 2] of a random view, and whether it is mirrored.

    Args:
        inner: (h, w) of the image in the stored square.
        focus: bool [S0, S0], what to zoom in on.
    """
    middle = np.array([inner[1], inner[0]]) / STORED - 1  # of the image, in -1..1, (x, y)
    size, center = 1.0, np.zeros(2)
    mirrored = bool(rng.random() < 0.5)
    angle = rng.uniform(-np.pi, np.pi) if rng.random() < 0.2 else np.deg2rad(rng.uniform(-20, 20))
    if focus is not None and focus.any():
        x0, y0, x1, y1 = tight_box(focus)
        wanted = max(x1 - x0, y1 - y0) / STORED * rng.uniform(1.3, 3.0)
        size = float(np.clip(wanted, 0.12, 1.0))
        center = np.array([x0 + x1, y0 + y1]) / STORED - 1 + rng.uniform(-0.25, 0.25, 2) * size
    else:
        if rng.random() < 0.85:
            size = rng.uniform(0.8, 1.3)
        center = rng.uniform(-0.12, 0.12, 2)
        if rng.random() < 0.1:
            angle, size, center = 0.0, 1.0, np.zeros(2)  # as it is
    # Turn and mirror about the middle of the image, so that the square's corner stays in the corner.
    cos, sin = size * np.cos(angle), size * np.sin(angle)
    flip = -1.0 if mirrored else 1.0
    matrix = np.array([[flip * cos, -sin], [flip * sin, cos]])
    shift = middle - matrix @ middle + center if focus is None else center
    theta = torch.tensor(np.column_stack([matrix, shift]), dtype=torch.float32)[None]
    grid = F.affine_grid(theta, [1, 1, side, side], align_corners=False)
    if rng.random() < 0.3:
        knots = torch.from_numpy(rng.normal(0, size * rng.uniform(0.01, 0.05), (1, 2, 5, 5))).float()
        grid = grid + F.interpolate(knots, (side, side), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    return grid, mirrored


def change_intensity(image: Tensor, rng: Generator) -> Tensor:
    """Another brightness, contrast, colour, sharpness or noise: image [1 or 3, S, S] -> [3, S, S] in 0..1."""
    if len(image) == 3 and rng.random() < 0.15:
        image = image.mean(0, keepdim=True)
    image = image.expand(3, -1, -1)
    if rng.random() < 0.12:
        image = 1 - image
    if rng.random() < 0.6:
        image = image.clamp(0, 1) ** float(np.exp(rng.uniform(-0.5, 0.5)))
    if rng.random() < 0.6:
        image = image * rng.uniform(0.75, 1.25) + rng.uniform(-0.12, 0.12)
    if rng.random() < 0.2:
        image = image * torch.from_numpy(rng.uniform(0.85, 1.15, (3, 1, 1)).astype(np.float32))
    if rng.random() < 0.25:
        noise = rng.standard_normal(image.shape[1:], dtype=np.float32) * rng.uniform(0.01, 0.07)
        image = image + torch.from_numpy(noise.astype(np.float32))
    if rng.random() < 0.15:
        image = F.avg_pool2d(image[None], 3, 1, 1)[0]
    return image.clamp(0, 1).contiguous()
