"""Segment Anything (Kirillov et al. 2023): its image encoder, and what the other parts of MIMO start from, from its checkpoints.

Read are the original .pth files (vit_h, vit_l, vit_b), those of MedSAM, which have the same form, and folders of
`transformers.SamModel`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from segment_anything.modeling import ImageEncoderViT, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling import MaskDecoder as SamMaskDecoder
from torch import Tensor, nn

from ..errors import WeightsError
from .checkpoint import State, check_state, fill, names_in, read_folder, read_state
from .config import ImageEncoderConfig, MaskDecoderConfig

SUPPORTED = "SAM's vit_h, vit_l or vit_b (.pth), MedSAM (.pth), or a folder of transformers' SamModel"
# A part of a name that tells another kind of model.
OTHER_KINDS = {
    "image_encoder.trunk.": "SAM 2, which is not supported",
    "image_encoder.patch_embed.seq.": "MobileSAM, which is not supported",
    "image_encoder.layers.": "MobileSAM, which is not supported",
    "hf_token": "HQ-SAM, which is not supported",
    "backbone.": "SAM 2 or another detector, which is not supported",
}
HEADS = 8  # of the mask decoder, in all published checkpoints; shapes do not tell


class SamEncoder(nn.Module):
    """SAM's image encoder: images [B, 3, s, s] -> [[B, C, s / 16, s / 16]], s = 1024 and C = 256 as published.

    `config.architecture` holds embed_dim, depth, heads, image_size, patch_size, window_size, global_attention (the indices of
    the blocks without windows) and channels (C).
    """

    def __init__(self, config: ImageEncoderConfig) -> None:
        super().__init__()
        if config.architecture is None:
            raise WeightsError("segmentation encoder", "no architecture", "the sizes of SAM's encoder, or a checkpoint")
        sizes = config.architecture
        self.input_size: int = sizes["image_size"]
        self.channels: tuple[int, ...] = (sizes["channels"],)
        self.strides: tuple[int, ...] = (sizes["patch_size"],)
        if config.source is None:
            self.network = vit(sizes)
        else:
            with torch.device("meta"):
                self.network = vit(sizes)
            fill(self.network, Path(config.source), read_sam(config.source).encoder)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self.network(images)]


def vit(sizes: dict[str, Any]) -> ImageEncoderViT:
    """SAM's own module of these sizes."""
    return ImageEncoderViT(
        depth=sizes["depth"],
        embed_dim=sizes["embed_dim"],
        img_size=sizes["image_size"],
        mlp_ratio=sizes.get("mlp_ratio", 4),
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        num_heads=sizes["heads"],
        patch_size=sizes["patch_size"],
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=tuple(sizes["global_attention"]),
        window_size=sizes["window_size"],
        out_chans=sizes["channels"],
    )


class SamCheckpoint(NamedTuple):
    """A checkpoint of SAM; the names of all tensors are SAM's own, without the part's prefix."""

    architecture: dict[str, Any]
    mask_decoder: MaskDecoderConfig
    encoder: State
    prompts: State
    decoder: State

    def start(self, prompt_encoder: nn.Module, mask_decoder: nn.Module) -> None:
        """Copy what there is into our `PromptEncoder` and `MaskDecoder`. What ours adds keeps its weights, but for the map
        that is drawn onto the features: it starts at zero, so that the decoder reads at first what it was trained on."""
        kinds = torch.cat([self.prompts[f"point_embeddings.{kind}.weight"] for kind in range(4)])
        matrix = self.prompts["pe_layer.positional_encoding_gaussian_matrix"]
        with torch.no_grad():
            prompt_encoder.kind.weight.copy_(kinds)
            prompt_encoder.position.positional_encoding_gaussian_matrix.copy_(matrix)
            prompt_encoder.map.weight.zero_()
            mask_decoder.no_mask_embed.weight.copy_(self.prompts["no_mask_embed.weight"])
        ours = mask_decoder.state_dict()
        mask_decoder.load_state_dict(
            {name: value for name, value in self.decoder.items() if name in ours}, strict=False
        )


def read_sam(source: str | Path) -> SamCheckpoint:
    """Read a checkpoint of SAM and check all its tensors.

    Raises:
        WeightsError: it is of another kind, or a tensor is missing, unexpected or wrongly shaped.
    """
    path = Path(source)
    state, sizes, decoder = _read_transformers(path) if path.is_dir() else _read_original(path)

    def part(name: str) -> State:
        return {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}

    return SamCheckpoint(sizes, decoder, part("image_encoder"), part("prompt_encoder"), part("mask_decoder"))


def _read_original(file: Path) -> tuple[State, dict[str, Any], MaskDecoderConfig]:
    """A state dictionary of `segment_anything.modeling.Sam`; its sizes are told by the shapes."""
    state = read_state(file)
    for mark, kind in OTHER_KINDS.items():
        if any(name.startswith(mark) or f".{mark}" in name for name in state):
            raise WeightsError(file, kind, SUPPORTED)
    if not any(name.startswith("image_encoder.") for name in state):
        raise WeightsError(file, f"no image_encoder, but {sorted(state)[:1]}", SUPPORTED)
    shapes = {name: value.shape for name, value in state.items()}
    try:
        sizes, decoder = _sizes(shapes)
    except KeyError as error:
        raise WeightsError(file, f"no {error.args[0]}", f"it; read are {SUPPORTED}") from error
    with torch.device("meta"):
        model = Sam(
            vit(sizes),
            PromptEncoder(
                decoder.width, (sizes["image_size"] // sizes["patch_size"],) * 2, (sizes["image_size"],) * 2, 16
            ),
            SamMaskDecoder(
                transformer_dim=decoder.width,
                transformer=TwoWayTransformer(decoder.layers, decoder.width, decoder.heads, decoder.mlp_width),
                num_multimask_outputs=decoder.multimask_outputs,
                iou_head_hidden_dim=shapes["mask_decoder.iou_prediction_head.layers.0.weight"][0],
            ),
        )
    check_state(file, state, model.state_dict())
    return state, sizes, decoder


def _sizes(shapes: dict[str, torch.Size]) -> tuple[dict[str, Any], MaskDecoderConfig]:
    """The sizes that the shapes of a checkpoint tell. KeyError: a tensor that is needed for it is missing."""
    embed_dim, _, patch, _ = shapes["image_encoder.patch_embed.proj.weight"]
    grid = shapes["image_encoder.pos_embed"][1]
    positions = {
        int(match[1]): shape
        for name, shape in shapes.items()
        if (match := re.fullmatch(r"image_encoder\.blocks\.(\d+)\.attn\.rel_pos_h", name))
    }
    blocks = {int(match[1]) for name in shapes if (match := re.match(r"image_encoder\.blocks\.(\d+)\.", name))}
    if not positions:
        raise KeyError("image_encoder.blocks.0.attn.rel_pos_h")
    head_width = Counter(shape[1] for shape in positions.values()).most_common(1)[0][0]
    whole = {index for index, (length, _) in positions.items() if length == 2 * grid - 1}
    windows = Counter((length + 1) // 2 for index, (length, _) in positions.items() if index not in whole)
    sizes = {
        "embed_dim": embed_dim,
        "depth": max(blocks) + 1,
        "heads": embed_dim // head_width,
        "image_size": grid * patch,
        "patch_size": patch,
        "window_size": windows.most_common(1)[0][0] if windows else 0,
        "global_attention": sorted(whole),
        "channels": shapes["image_encoder.neck.0.weight"][0],
    }
    tokens, width = shapes["mask_decoder.mask_tokens.weight"]
    layers = [int(m[1]) for name in shapes if (m := re.match(r"mask_decoder\.transformer\.layers\.(\d+)\.", name))]
    mlp_width = shapes["mask_decoder.transformer.layers.0.mlp.lin1.weight"][0]
    return sizes, MaskDecoderConfig(width, max(layers) + 1, HEADS, mlp_width, tokens - 1)


# How names of `transformers` become SAM's, in this order.
RENAMES = (
    (r"^shared_image_embedding\.positional_embedding", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    (r"^prompt_encoder\.mask_embed\.conv1", "prompt_encoder.mask_downscaling.0"),
    (r"^prompt_encoder\.mask_embed\.layer_norm1", "prompt_encoder.mask_downscaling.1"),
    (r"^prompt_encoder\.mask_embed\.conv2", "prompt_encoder.mask_downscaling.3"),
    (r"^prompt_encoder\.mask_embed\.layer_norm2", "prompt_encoder.mask_downscaling.4"),
    (r"^prompt_encoder\.mask_embed\.conv3", "prompt_encoder.mask_downscaling.6"),
    (r"^vision_encoder\.neck\.conv1", "image_encoder.neck.0"),
    (r"^vision_encoder\.neck\.layer_norm1", "image_encoder.neck.1"),
    (r"^vision_encoder\.neck\.conv2", "image_encoder.neck.2"),
    (r"^vision_encoder\.neck\.layer_norm2", "image_encoder.neck.3"),
    (r"^vision_encoder\.patch_embed\.projection", "image_encoder.patch_embed.proj"),
    (r"^vision_encoder\.layers\.", "image_encoder.blocks."),
    (r"^vision_encoder\.", "image_encoder."),
    (r"^mask_decoder\.upscale_conv1", "mask_decoder.output_upscaling.0"),
    (r"^mask_decoder\.upscale_layer_norm", "mask_decoder.output_upscaling.1"),
    (r"^mask_decoder\.upscale_conv2", "mask_decoder.output_upscaling.3"),
    (r"(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.0", r"\1.layers.1"),
    (r"(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.proj_in", r"\1.layers.0"),
    (r"(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.proj_out", r"\1.layers.2"),
    (r"layer_norm_final_attn", "norm_final_attn"),
    (r"\.layer_norm(\d)\.", r".norm\1."),
)


def _read_transformers(folder: Path) -> tuple[State, dict[str, Any], MaskDecoderConfig]:
    """A folder of `transformers.SamModel`."""
    from transformers import SamConfig, SamModel  # slow to import

    if not (folder / "config.json").is_file():
        raise WeightsError(folder, "no config.json" if folder.is_dir() else "no such folder", SUPPORTED)
    about = json.loads((folder / "config.json").read_text())
    if about.get("model_type") != "sam":
        raise WeightsError(folder, f"a model of type {about.get('model_type')}, which is not supported", SUPPORTED)
    config = SamConfig.from_pretrained(folder, local_files_only=True)
    names_in(folder)
    state = read_folder(folder)
    state.pop("prompt_encoder.shared_embedding.positional_embedding", None)  # the same as shared_image_embedding's
    with torch.device("meta"):
        expected = SamModel(config).state_dict()
    expected.pop("prompt_encoder.shared_embedding.positional_embedding", None)
    check_state(folder, state, expected)
    for pattern, name in RENAMES:
        state = {re.sub(pattern, name, key): value for key, value in state.items()}
    vision, decoder = config.vision_config, config.mask_decoder_config
    sizes = {
        "embed_dim": vision.hidden_size,
        "depth": vision.num_hidden_layers,
        "heads": vision.num_attention_heads,
        "image_size": vision.image_size,
        "patch_size": vision.patch_size,
        "window_size": vision.window_size,
        "global_attention": list(vision.global_attn_indexes),
        "channels": vision.output_channels,
        "mlp_ratio": vision.mlp_dim / vision.hidden_size,
    }
    return (
        state,
        sizes,
        MaskDecoderConfig(
            decoder.hidden_size,
            decoder.num_hidden_layers,
            decoder.num_attention_heads,
            decoder.mlp_dim,
            decoder.num_multimask_outputs,
        ),
    )
