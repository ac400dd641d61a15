"""How unlike the images of training an image is, by its features: a model answers about any picture, also one of a kind it
never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..models.image_encoder import ImageFeatures

DOMAIN = "domain.safetensors"  # in a weights folder
SHRINK = 0.1  # of the covariance towards its diagonal, since there are hundreds of images for hundreds of channels


@dataclass(frozen=True)
class Domain:
    """Where the images of training lie (Lee et al., A simple unified framework for detecting out-of-distribution samples, 2018).

    Attributes:
        means: [K, F], of the `summary` of the images of each of K kinds.
        whitening: [F, F], makes the covariance within kinds the identity.
        limit: the distance that 1 % of images like those of training exceed.
    """

    means: Tensor
    whitening: Tensor
    limit: float

    @classmethod
    def fit(cls, kinds: Sequence[Tensor], held_out: Tensor, level: float = 0.99) -> Domain:
        """From summaries [n, F] of training images of each kind, and [m, F] of others like them, which set the limit."""
        means = torch.stack([values.mean(dim=0) for values in kinds])
        centred = torch.cat([values - mean for values, mean in zip(kinds, means)]).double()
        covariance = centred.T @ centred / len(centred)
        covariance = (1 - SHRINK) * covariance + SHRINK * torch.diag(covariance.diagonal())
        values, vectors = torch.linalg.eigh(covariance)
        whitening = (vectors / values.clamp(min=1e-8).sqrt()).float().contiguous()
        free = cls(means, whitening, 1.0)
        return cls(means, whitening, free.distance(held_out).quantile(level).item())

    def distance(self, summaries: Tensor) -> Tensor:
        """summaries [n, F] -> Mahalanobis distance to the nearest kind in units of the limit [n]; above 1 is unlike training."""
        return torch.cdist(summaries @ self.whitening, self.means @ self.whitening).amin(dim=1) / self.limit

    def save(self, folder: Path) -> None:
        """Put it beside the weights in `folder`."""
        tensors = {"means": self.means, "whitening": self.whitening, "limit": torch.tensor(self.limit)}
        new = folder / f".{DOMAIN}"
        save_file(tensors, new)
        new.chmod(0o644)
        new.replace(folder / DOMAIN)

    @classmethod
    def load(cls, folder: Path) -> Domain | None:
        """That of the weights in `folder`, if it has one."""
        if not (folder / DOMAIN).exists():
            return None
        tensors = load_file(folder / DOMAIN)
        return cls(tensors["means"], tensors["whitening"], tensors["limit"].item())


def summary(features: ImageFeatures) -> Tensor:
    """Mean and deviation over the image of each channel that the aligner reads: [B, 2 D]."""
    context = features.context.float().flatten(2)
    return torch.cat([context.mean(dim=2), context.std(dim=2)], dim=1).cpu()
