"""How unlike the images of training an image is, by its features: a model answers about any picture, also one of a kind it
never saw."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..data.feature_cache import EncoderMaps
from ..errors import WeightsError
from ..files import atomic_file
from ..models.image_encoder import ImageFeatures

DOMAIN = "domain.safetensors"  # in a weights folder
SHRINK = 0.1  # of a covariance towards its diagonal, since there are hundreds of images for a hundred channels
FINE, CONTEXT = "fine", "context"  # which maps a summary is of


@dataclass(frozen=True)
class ImageDomain:
    """Where the images of training lie (Lee et al., A simple unified framework for detecting out-of-distribution samples, 2018),
    with a covariance of its own for each kind of image: what a radiograph may be like says nothing about an MR slice.

    Attributes:
        means: [K, F], of the summaries of the images of each of K kinds.
        whitening: [K, F, F], makes the covariance within a kind the identity.
        limit: the distance that 1 % of images like those of training exceed.
        maps: which maps of an image the summaries are of, see `feature_summary`.
        modalities: of the images of each kind, where they are known.
    """

    means: Tensor
    whitening: Tensor
    limit: float
    maps: str = FINE
    modalities: tuple[str, ...] = ()

    @classmethod
    def fit(
        cls,
        kinds: Sequence[Tensor],
        held_out: Tensor,
        level: float = 0.99,
        maps: str = FINE,
        modalities: Sequence[str] = (),
    ) -> ImageDomain:
        """From summaries [n, F] of training images of each kind, and [m, F] of others like them, which set the limit."""
        means = torch.stack([values.mean(dim=0) for values in kinds])
        whitening = torch.stack([_whitening(values - mean) for values, mean in zip(kinds, means)])
        free = cls(means, whitening, 1.0, maps)
        return cls(means, whitening, free.distance(held_out).quantile(level).item(), maps, tuple(modalities))

    def distance(self, summaries: Tensor) -> Tensor:
        """summaries [n, F] -> Mahalanobis distance to the nearest kind in units of the limit [n]; above 1 is unlike training."""
        return self._distances(summaries).amin(dim=1) / self.limit

    def _distances(self, summaries: Tensor) -> Tensor:
        """Of summaries [n, F] to each kind, [n, K]."""
        return torch.einsum("nkf,kfg->nkg", summaries[:, None] - self.means, self.whitening).norm(dim=2)

    def modality(self, maps: EncoderMaps, features: ImageFeatures) -> str | None:
        """The modality of the kind that an image is likeliest of, where kinds are normal and as frequent; none if not known."""
        if not self.modalities:
            return None
        distances = self._distances(feature_summary(maps, features, self.maps))[0]
        return self.modalities[int((distances**2 + self._spread).argmin())]

    @cached_property
    def _spread(self) -> Tensor:
        """The logarithm of the determinant of the covariance of each kind, [K]: the same for every image."""
        return -2 * torch.linalg.slogdet(self.whitening).logabsdet

    def ood_score(self, maps: EncoderMaps, features: ImageFeatures) -> Tensor:
        """The `distance` of B images, [B]."""
        return self.distance(feature_summary(maps, features, self.maps))

    def save(self, folder: Path) -> None:
        """Put it beside the weights in `folder`."""
        tensors = {"means": self.means, "whitening": self.whitening, "limit": torch.tensor(self.limit)}
        with atomic_file(folder / DOMAIN) as file:
            save_file(tensors, file, metadata={"maps": self.maps, "modalities": json.dumps(self.modalities)})

    @classmethod
    def load(cls, folder: Path) -> ImageDomain | None:
        """That of the weights in `folder`, if it has one.

        Raises:
            WeightsError: the file is damaged.
        """
        file = folder / DOMAIN
        if not file.exists():
            return None
        try:
            with safe_open(file, "pt") as opened:
                means, whitening, limit = (opened.get_tensor(name) for name in ("means", "whitening", "limit"))
                # The first version had no metadata, summaries of the context, and one covariance for all kinds.
                about = opened.metadata() or {}
                maps, modalities = about.get("maps", CONTEXT), json.loads(about.get("modalities", "[]"))
            return cls(means, whitening.expand(len(means), -1, -1), limit.item(), maps, tuple(modalities))
        except Exception as error:  # safetensors has a class of errors of its own, and passes on those of the system
            raise WeightsError(file, f"{type(error).__name__}: {error}", "what `mimo calibrate` writes") from error


def _whitening(centred: Tensor) -> Tensor:
    """[n, F] about their mean -> W [F, F] with W W^T the inverse of their covariance."""
    centred = centred.double()
    covariance = centred.T @ centred / len(centred)
    covariance = (1 - SHRINK) * covariance + SHRINK * torch.diag(covariance.diagonal())
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors / values.clamp(min=1e-8).sqrt()).float().contiguous()


def feature_summary(maps: EncoderMaps, features: ImageFeatures, of: str = FINE) -> Tensor:
    """Mean and deviation over the image of each channel, [B, F]: of the two finest maps of the image encoder, or of the `context`
    that the aligner reads.

    The fine maps tell kinds of images apart by their texture. The context was trained to say what is in a picture, and is much
    the same for a fundus photograph and a colonoscopy (docs/model-card.md).
    """
    chosen = maps.image[:2] if of == FINE else [features.context]
    planes = [m.float().flatten(2) for m in chosen]
    return torch.cat([s for plane in planes for s in (plane.mean(dim=2), plane.std(dim=2))], dim=1).cpu()
