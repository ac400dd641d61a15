"""Vision towers of `transformers` (CLIP, SigLIP, DINOv2 ...) as image encoders, from its own folders or from OpenCLIP's files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig

from ..errors import WeightsError
from . import open_clip
from .checkpoint import fill
from .config import ImageEncoderConfig
from .pretrained import architecture, load_checked, read_hugging_face_config

# The pixels that models were trained with, where their folder does not tell.
OPENAI = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
PIXELS = {
    "clip_vision_model": OPENAI,
    "siglip_vision_model": {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
}
OTHER_PARTS = ("text_model.", "text_projection.", "visual_projection.", "logit_scale", "logit_bias")  # of a whole CLIP


class VisionTower(nn.Module):
    """The patch features of one layer of a vision transformer, as a map: images [B, 3, s, s] -> [[B, C, s / p, s / p]]."""

    def __init__(self, config: ImageEncoderConfig) -> None:
        super().__init__()
        if config.architecture is None:
            raise WeightsError("image encoder", "no architecture", "the sizes of a vision tower, or a checkpoint")
        sizes = AutoConfig.for_model(**config.architecture)
        self.layer = config.layer
        self.input_size: int = sizes.image_size
        self.channels: tuple[int, ...] = (sizes.hidden_size,)
        self.strides: tuple[int, ...] = (sizes.patch_size,)
        self.network = AutoModel.from_config(sizes) if config.source is None else load_tower(config.source, sizes)

    def forward(self, images: Tensor) -> list[Tensor]:
        states = self.network(pixel_values=images, output_hidden_states=True).hidden_states[self.layer]
        side = self.input_size // self.strides[0]
        patches = states[:, -side * side :]  # class and register tokens, where there are any, come first
        return [patches.transpose(1, 2).unflatten(2, (side, side))]


def load_tower(source: str, sizes: PreTrainedConfig) -> nn.Module:
    """Read the vision tower at `source`.

    Raises:
        WeightsError: a tensor is missing, unexpected or wrongly shaped.
    """
    path = Path(source)
    if open_clip.is_open_clip(path):
        tower = AutoModel.from_config(sizes)
        fill(tower, path, open_clip.vision_state(path, tower.state_dict()))
        return tower
    return load_checked(AutoModel, path, torch.float32, OTHER_PARTS, config=sizes)


def tower_config(source: str) -> ImageEncoderConfig:
    """How the image encoder at `source` is configured: a `transformers` folder of a vision model or of a model with one (CLIP,
    SigLIP), an OpenCLIP folder, or its open_clip_pytorch_model.bin.

    Raises:
        WeightsError: it is none of them.
    """
    path, base = Path(source), ImageEncoderConfig("vision-tower", source=str(source))
    if open_clip.is_open_clip(path):
        sizes, pixels = open_clip.vision_architecture(path)
        return replace(base, architecture=sizes, **{**OPENAI, **pixels})
    config = read_hugging_face_config(path)
    config = getattr(config, "vision_config", config)
    missing = [
        name for name in ("image_size", "patch_size", "hidden_size") if not isinstance(getattr(config, name, None), int)
    ]
    if missing:
        raise WeightsError(path / "config.json", f"{config.model_type} without {missing[0]}", "a vision transformer")
    return replace(base, architecture=architecture(config), **pixels_of(path, config.model_type))


def pixels_of(folder: Path, model_type: str) -> dict[str, Any]:
    """`mean` and `std` from the folder's preprocessor_config.json, or those of the model's kind; ImageNet's are the default."""
    file = folder / "preprocessor_config.json"
    if file.is_file():
        values = json.loads(file.read_text())
        if "image_mean" in values and "image_std" in values:
            return {"mean": tuple(values["image_mean"]), "std": tuple(values["image_std"])}
    return PIXELS.get(model_type, {})
