"""Vision towers from upstream's formats: their features are those of upstream's own classes with the same files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from monai_mimo.errors import WeightsError
from monai_mimo.models import Mimo, load_preset
from monai_mimo.models.image_encoder import build_image_encoder, extract_features
from monai_mimo.models.open_clip import vision_architecture

from ..conftest import make_nano, training_batch
from . import upstream

VISION = {**upstream.SMALL, "num_hidden_layers": 3, "image_size": 56, "patch_size": 14}


def transformers_folder(folder: Path, kind: str) -> nn.Module:
    """A small model of `kind`, written to `folder`; returns its vision tower."""
    if kind in ("clip", "siglip"):
        text = {**upstream.SMALL, "vocab_size": 50, "max_position_embeddings": 9, "bos_token_id": 1, "eos_token_id": 2}
        config = AutoConfig.for_model(kind, vision_config=VISION, text_config=text)
    else:
        config = AutoConfig.for_model(kind, **VISION)
    model = upstream.randomize(AutoModel.from_config(config))
    model.save_pretrained(folder)
    return getattr(model, "vision_model", model)


def images() -> torch.Tensor:
    return torch.rand(2, 3, 56, 56)


def features_of(source: Path, pixels: torch.Tensor, **changes: Any) -> torch.Tensor:
    config = load_preset("nano", image_encoder=str(source), **changes).image_encoder
    with torch.no_grad():
        [features] = extract_features(build_image_encoder(config).eval(), config, pixels)
    return features


PIXELS = {"clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))}
PIXELS["clip_vision_model"] = PIXELS["clip"]
PIXELS["siglip"] = PIXELS["siglip_vision_model"] = ((0.5,) * 3, (0.5,) * 3)
PIXELS["dinov2"] = PIXELS["dinov2_with_registers"] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def normalized(pixels: torch.Tensor, kind: str) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in PIXELS[kind])
    return (pixels - mean) / std


@pytest.mark.parametrize("kind", PIXELS)
def test_transformers_towers(tmp_path: Path, kind: str) -> None:
    tower = transformers_folder(tmp_path, kind)
    pixels = images()
    with torch.no_grad():
        states = tower(normalized(pixels, kind), output_hidden_states=True).hidden_states[
            2
        ]  # of 0..3: the last but one
    before = {"clip": 1, "dinov2": 1, "dinov2_with_registers": 5}.get(kind.removesuffix("_vision_model"), 0)
    expected = states[:, before:].reshape(2, 4, 4, 32).permute(0, 3, 1, 2)
    torch.testing.assert_close(features_of(tmp_path, pixels), expected, atol=1e-4, rtol=1e-4)


def test_another_layer_and_the_folders_own_pixels(tmp_path: Path) -> None:
    tower = transformers_folder(tmp_path, "clip")
    about = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(about))
    pixels = images()
    config = load_preset("nano", image_encoder={"name": "vision-tower", "layer": -1, "source": str(tmp_path)})
    with torch.no_grad():
        [got] = extract_features(build_image_encoder(config.image_encoder), config.image_encoder, pixels)
        scaled = (pixels - torch.tensor(about["image_mean"]).view(3, 1, 1)) / torch.tensor(about["image_std"]).view(
            3, 1, 1
        )
        states = tower(scaled, output_hidden_states=True).hidden_states[3]
    torch.testing.assert_close(got, states[:, 1:].reshape(2, 4, 4, 32).permute(0, 3, 1, 2), atol=1e-4, rtol=1e-4)


def open_clip_model(**vision: Any) -> open_clip.CLIP:
    sizes = {"image_size": 56, "layers": 3, "width": 32, "head_width": 16, "patch_size": 14, **vision}
    text = {"context_length": 8, "vocab_size": 50, "width": 32, "heads": 2, "layers": 1}
    return upstream.randomize(open_clip.CLIP(16, sizes, text))


@pytest.mark.parametrize("place", ["folder", "file"])
def test_open_clip(tmp_path: Path, place: str) -> None:
    model = open_clip_model()
    file = tmp_path / "open_clip_pytorch_model.bin"
    torch.save(model.state_dict(), file)
    about = {
        "model_cfg": {"embed_dim": 16, "vision_cfg": {"head_width": 16}},
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
    }
    (tmp_path / "open_clip_config.json").write_text(json.dumps(about))
    pixels, taken = images(), []
    model.visual.transformer.resblocks[1].register_forward_hook(
        lambda *args: taken.append(args[-1])
    )  # the last but one
    with torch.no_grad():
        model.encode_image((pixels - 0.5) / 0.25)
    expected = taken[0][:, 1:].reshape(2, 4, 4, 32).permute(0, 3, 1, 2)
    got = features_of(tmp_path if place == "folder" else file, pixels)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_a_folder_in_both_forms(tmp_path: Path) -> None:
    """As LAION publishes its models: the files of transformers are read."""
    tower = transformers_folder(tmp_path, "clip")
    torch.save(open_clip_model().state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    (tmp_path / "open_clip_config.json").write_text("{}")
    upstream.as_bin(tmp_path, shards=1)
    config = load_preset("nano", image_encoder=str(tmp_path)).image_encoder
    for (name, ours), theirs in zip(build_image_encoder(config).state_dict().items(), tower.state_dict().values()):
        assert torch.equal(ours, theirs), name


def test_open_clip_sizes_without_a_config(tmp_path: Path) -> None:
    """Of the published file alone, ViT-H/14 by OpenCLIP's own builder (no values: only shapes count)."""
    with torch.device("meta"):
        model = open_clip.CLIP(
            1024, open_clip.get_model_config("ViT-H-14")["vision_cfg"], {"layers": 1, "vocab_size": 50}
        )
    state = {name: torch.zeros(()).expand(value.shape) for name, value in model.state_dict().items()}
    file = tmp_path / "open_clip_pytorch_model.bin"
    torch.save(state, file)
    sizes, _ = vision_architecture(file)
    assert sizes == load_preset("7b").image_encoder.architecture


def test_image_is_resized_to_the_towers_own_side(tmp_path: Path) -> None:
    transformers_folder(tmp_path, "clip")
    pixels = torch.full((1, 3, 112, 112), 0.3)
    torch.testing.assert_close(features_of(tmp_path, pixels), features_of(tmp_path, pixels[..., :56, :56]))


@pytest.mark.parametrize("both", [True, False])
def test_a_model_with_a_tower_reads_and_learns(tmp_path: Path, both: bool) -> None:
    """Of its own for the aligner, and also for the masks: a patch of the tower is 4 x 4 pixels of a mask."""
    transformers_folder(tmp_path, "clip")
    segmentation = None if both else {"name": "convolutions"}
    config = load_preset("nano", image_encoder=str(tmp_path), segmentation_encoder=segmentation)
    model = Mimo(config, make_nano().tokenizer)
    pixels, batch = training_batch(model)
    prediction = model(pixels, batch)
    assert prediction.mask_logits.shape == ((4, 16, 16) if both else (4, 32, 32))
    (prediction.mask_logits.sum() + prediction.text_logits.square().sum()).backward()
    assert all(p.grad is None for p in model.image_encoder.parameters())
    assert all(p.grad is not None and p.grad.any() for p in model.neck.output[0].parameters() if p.ndim > 1)


@pytest.mark.parametrize("kind", ["missing", "unexpected", "shape"])
@pytest.mark.parametrize("form", ["transformers", "vision only", "open_clip"])
def test_tensors_that_do_not_fit(tmp_path: Path, form: str, kind: str) -> None:
    if form == "open_clip":
        file, name = tmp_path / "open_clip_pytorch_model.bin", "visual.transformer.resblocks.1.attn.in_proj_weight"
        torch.save(open_clip_model().state_dict(), file)
        about = {"model_cfg": {"vision_cfg": {"head_width": 16}}}
        (tmp_path / "open_clip_config.json").write_text(json.dumps(about))
        name = upstream.damage(file, kind, name)
    else:
        transformers_folder(tmp_path, "clip" if form == "transformers" else "clip_vision_model")
        prefix = "vision_model." if form == "transformers" else ""
        file = tmp_path / "model.safetensors"
        name = upstream.damage(file, kind, f"{prefix}encoder.layers.1.mlp.fc1.weight").removeprefix("vision_model.")
    with pytest.raises(WeightsError) as error:
        build_image_encoder(load_preset("nano", image_encoder=str(tmp_path)).image_encoder)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_no_vision_transformer(tmp_path: Path) -> None:
    upstream.language_model(tmp_path / "llm")
    with pytest.raises(WeightsError, match="llama without image_size"):
        load_preset("nano", image_encoder=str(tmp_path / "llm"))
    with pytest.raises(WeightsError, match="no such"):
        load_preset("nano", image_encoder=str(tmp_path / "nothing"))
