"""The vision transformers of OpenCLIP (Ilharco et al. 2021), read as those of `transformers`, which compute the same."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import WeightsError
from .checkpoint import State, check_state, names_in, read_state, weight_files

HEAD_WIDTHS = {1280: 80, 1408: 88, 1664: 104}  # of ViT-H, g and bigG by their width; of the others 64

# (name in `transformers`, name in OpenCLIP) of the modules of a block, and of what is outside the blocks.
BLOCK = (
    ("layer_norm1", "ln_1"),
    ("layer_norm2", "ln_2"),
    ("self_attn.out_proj", "attn.out_proj"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
)
OUTSIDE = (
    ("embeddings.class_embedding", "class_embedding"),
    ("embeddings.position_embedding.weight", "positional_embedding"),
    ("embeddings.patch_embedding.weight", "conv1.weight"),
    *((f"pre_layrnorm.{end}", f"ln_pre.{end}") for end in ("weight", "bias")),
    *((f"post_layernorm.{end}", f"ln_post.{end}") for end in ("weight", "bias")),
)


def is_open_clip(source: Path) -> bool:
    """Whether the file or folder holds a model of OpenCLIP."""
    if source.is_dir():
        return bool(list(source.glob("open_clip_*"))) and not (source / "model.safetensors").is_file()
    return source.is_file() and any(name.startswith("visual.") for name in names_in(source))


def vision_architecture(source: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The sizes of its vision transformer as `ImageEncoderConfig.architecture`, and `mean` and `std` where a file beside it,
    open_clip_config.json, tells them. What the tensors do not tell, the width of an attention head, comes from that file or
    is the published one.

    Raises:
        WeightsError: its vision tower is not a plain vision transformer.
    """
    state = _visual(source)
    for name in ("conv1.weight", "positional_embedding", "transformer.resblocks.0.mlp.c_fc.weight", "proj"):
        if name not in state:
            raise WeightsError(
                source, f"no visual.{name}", "a vision transformer of OpenCLIP (ViT-H/14, L/14, B/32 ...)"
            )
    file = (source if source.is_dir() else source.parent) / "open_clip_config.json"
    about = json.loads(file.read_text()) if file.is_file() else {}
    model, pixels = about.get("model_cfg", {}), about.get("preprocess_cfg", {})
    width, _, patch, _ = state["conv1.weight"].shape
    head = model.get("vision_cfg", {}).get("head_width", HEAD_WIDTHS.get(width, 64))
    sizes = {
        "model_type": "clip_vision_model",
        "hidden_size": width,
        "intermediate_size": state["transformer.resblocks.0.mlp.c_fc.weight"].shape[0],
        "num_hidden_layers": sum(name.endswith(".mlp.c_fc.weight") for name in state),
        "num_attention_heads": max(1, width // head),
        "image_size": patch * round((len(state["positional_embedding"]) - 1) ** 0.5),
        "patch_size": patch,
        "projection_dim": state["proj"].shape[1],
        "hidden_act": "quick_gelu" if model.get("quick_gelu") else "gelu",
    }
    return sizes, {name: tuple(pixels[name]) for name in ("mean", "std") if name in pixels}


def vision_state(source: Path, expected: Mapping[str, Tensor]) -> State:
    """The tensors of the vision tower under the names of `transformers.CLIPVisionModel`.

    Args:
        expected: those of that model, to name a missing or wrongly shaped one as OpenCLIP does.

    Raises:
        WeightsError: one is missing, unexpected or wrongly shaped.
    """
    state, names = _visual(source), dict(OUTSIDE)
    for block in range(sum(name.endswith(".mlp.fc1.weight") for name in expected)):
        ours, theirs = f"encoder.layers.{block}", f"transformer.resblocks.{block}"
        for end in ("weight", "bias"):
            names |= {f"{ours}.{a}.{end}": f"{theirs}.{b}.{end}" for a, b in BLOCK}
            names |= {f"{ours}.self_attn.{part}_proj.{end}": f"{theirs}.attn.in_proj_{end}" for part in "qkv"}
    shapes = {f"visual.{theirs}": expected[ours].shape for ours, theirs in names.items()}
    for name, (first, *rest) in shapes.items():
        if "in_proj" in name:
            shapes[name] = torch.Size([3 * first, *rest])
    shapes["visual.proj"] = state["proj"].shape  # to the space that is shared with texts; read by nothing here
    check_state(source, {f"visual.{name}": value for name, value in state.items()}, shapes)
    parts = {ours: re.search(r"\.([qkv])_proj\.", ours) for ours in names}
    return {
        ours: state[theirs].chunk(3)["qkv".index(part[1])] if (part := parts[ours]) else state[theirs]
        for ours, theirs in names.items()
    }


def _visual(source: Path) -> State:
    """The tensors of the vision tower by their names after "visual."."""
    state: State = {}
    for file in weight_files(source):
        state.update(read_state(file))
    return {name.removeprefix("visual."): value for name, value in state.items() if name.startswith("visual.")}
