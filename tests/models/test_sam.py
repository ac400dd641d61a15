"""SAM's checkpoints: features and masks are those of `segment_anything` and of `transformers` with the same files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from segment_anything import build_sam_vit_b, build_sam_vit_h, build_sam_vit_l
from segment_anything.modeling import Sam
from transformers import SamConfig, SamModel

from monai_mimo.errors import WeightsError
from monai_mimo.models import Mimo, load_preset
from monai_mimo.models.image_encoder import build_image_encoder, extract_features
from monai_mimo.models.sam import _sizes, read_sam

from ..conftest import make_nano, training_batch
from . import upstream


def original(folder: Path) -> tuple[Path, Sam]:
    model = upstream.sam()
    file = folder / "sam.pth"
    torch.save(model.state_dict(), file)
    return file, model


def transformers_folder(folder: Path) -> tuple[Path, SamModel]:
    vision = {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 16,
        "global_attn_indexes": [1],
        "window_size": 3,
        "output_channels": 16,
        "mlp_dim": 128,
        "num_pos_feats": 8,
    }
    prompts = {"hidden_size": 16, "image_size": 64, "patch_size": 16, "image_embedding_size": 4}
    decoder = {"hidden_size": 16, "mlp_dim": 32, "num_attention_heads": 4, "iou_head_hidden_dim": 16}
    config = SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    model = upstream.randomize(SamModel(config))
    model.save_pretrained(folder)
    return folder, model


def mimo(source: Path) -> Mimo:
    return Mimo(load_preset("nano", seg_encoder=str(source)), make_nano().tokenizer).eval()


@pytest.mark.parametrize("form", ["original", "transformers"])
def test_features(tmp_path: Path, form: str) -> None:
    source, theirs = original(tmp_path) if form == "original" else transformers_folder(tmp_path)
    model = mimo(source)
    images = torch.rand(2, 3, 64, 64)
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])  # of SAM's builder
    inputs = (images * 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    with torch.no_grad():
        expected = theirs.image_encoder(inputs) if form == "original" else theirs.vision_encoder(inputs)[0]
        features = model.encode(images)
    torch.testing.assert_close(features.feature_map, expected, atol=1e-4, rtol=1e-4)
    assert features.high_resolution == ()
    assert not features.one_encoder


def test_masks_of_a_click_are_those_of_sam(tmp_path: Path) -> None:
    """The click's tokens and SAM's own padding point, given to our decoder in place of the `<SEG>` token, give SAM's mask."""
    source, sam = original(tmp_path)
    model = mimo(source)
    images, at, label = torch.rand(1, 3, 64, 64), torch.tensor([[[20.0, 33.0]]]), torch.tensor([[1]])
    with torch.no_grad():
        features = model.encode(images)
        sparse, dense = sam.prompt_encoder((at - 0.5, label), None, None)  # SAM adds the half pixel itself
        ours = model.prompt_encoder(at, label)
        torch.testing.assert_close(ours, sparse[:, :1], atol=1e-5, rtol=1e-4)
        assert not model.prompt_encoder.dense_embeddings(
            at, label, (4, 4)
        ).any()  # so that SAM's decoder reads what it knows
        place = model.prompt_encoder.get_dense_pe((4, 4))
        torch.testing.assert_close(place, sam.prompt_encoder.get_dense_pe())
        expected, scores = sam.mask_decoder(features.feature_map, place, sparse, dense, multimask_output=False)
        padding = torch.zeros(1, 1, dtype=torch.bool)
        logits, score = model.mask_decoder(
            features.feature_map, place, (), torch.tensor([0]), sparse[:, 1], ours, padding
        )
        # SAM puts the padding point last, ours puts `<SEG>` first: attention does not see the order.
    torch.testing.assert_close(logits, expected[:, 0], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(score, scores[:, 0], atol=1e-4, rtol=1e-3)


def test_the_two_forms_are_read_alike(tmp_path: Path) -> None:
    """A SamModel of transformers, read by us, gives the masks that transformers gives for the same point."""
    source, theirs = transformers_folder(tmp_path)
    model = mimo(source)
    images, at, label = torch.rand(1, 3, 64, 64), torch.tensor([[[20.0, 33.0]]]), torch.tensor([[1]])
    with torch.no_grad():
        features = model.encode(images)
        out = theirs(
            image_embeddings=features.feature_map,
            input_points=at[:, None] - 0.5,
            input_labels=label[:, None],
            multimask_output=False,
        )
        padding = torch.zeros(1, 1, dtype=torch.bool)
        not_a_point = theirs.prompt_encoder.not_a_point_embed.weight
        beside = (
            model.prompt_encoder.position.forward_with_coords(torch.zeros(1, 1, 2) + 0.5, (64, 64)) * 0 + not_a_point
        )
        logits, score = model.mask_decoder(
            features.feature_map,
            model.prompt_encoder.get_dense_pe((4, 4)),
            (),
            torch.tensor([0]),
            beside[:, 0],
            model.prompt_encoder(at, label),
            padding,
        )
    torch.testing.assert_close(logits, out.pred_masks[:, 0, 0], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(score, out.iou_scores[:, 0, 0], atol=1e-4, rtol=1e-3)


def test_a_model_from_sam_learns(tmp_path: Path) -> None:
    source, _ = original(tmp_path)
    model = mimo(source).train()
    images, batch = training_batch(model)
    prediction = model(images, batch)
    assert prediction.mask_logits.shape == (4, 16, 16)
    (prediction.mask_logits.square().sum() + prediction.text_logits.sum() + prediction.scores.sum()).backward()
    assert [n for n, p in model.mask_decoder.named_parameters() if p.grad is None] == []
    assert all(p.grad is None for p in model.segmentation_encoder.parameters())


@pytest.mark.parametrize("build", [build_sam_vit_b, build_sam_vit_l, build_sam_vit_h])
def test_published_sizes_are_told_by_the_shapes(build: type) -> None:
    with torch.device("meta"):
        model = build()
    sizes, decoder = _sizes({name: value.shape for name, value in model.state_dict().items()})
    encoder = model.image_encoder
    assert sizes["depth"] == len(encoder.blocks)
    assert sizes["heads"] == encoder.blocks[0].attn.num_heads
    assert sizes["global_attention"] == [n for n, block in enumerate(encoder.blocks) if block.window_size == 0]
    assert sizes["window_size"] == encoder.blocks[0].window_size
    assert (sizes["image_size"], sizes["channels"]) == (1024, 256)
    published = load_preset("7b")
    assert decoder == published.mask_decoder
    if build is build_sam_vit_h:
        assert sizes == published.segmentation_encoder.architecture


@pytest.mark.parametrize("kind", ["missing", "unexpected", "shape"])
@pytest.mark.parametrize(
    "name",
    [
        "image_encoder.blocks.2.attn.qkv.weight",
        "prompt_encoder.no_mask_embed.weight",
        "mask_decoder.transformer.layers.1.mlp.lin2.weight",
        "image_encoder.pos_embed",
    ],
)
def test_tensors_that_do_not_fit(tmp_path: Path, name: str, kind: str) -> None:
    source, _ = original(tmp_path)
    name = upstream.damage(source, kind, name)
    with pytest.raises(WeightsError) as error:
        load_preset("nano", seg_encoder=str(source))
    assert name in str(error.value)


@pytest.mark.parametrize("kind", ["missing", "unexpected", "shape"])
@pytest.mark.parametrize("name", ["vision_encoder.layers.1.attn.qkv.weight", "mask_decoder.upscale_conv1.weight"])
def test_tensors_of_transformers_that_do_not_fit(tmp_path: Path, name: str, kind: str) -> None:
    source, _ = transformers_folder(tmp_path)
    name = upstream.damage(source / "model.safetensors", kind, name)
    with pytest.raises(WeightsError) as error:
        load_preset("nano", seg_encoder=str(source))
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["image_encoder.trunk.blocks.0.norm1.weight", "sam_mask_decoder.iou_token.weight"], "SAM 2"),
        (["image_encoder.patch_embed.seq.0.c.weight", "image_encoder.layers.0.blocks.0.conv1.c.weight"], "MobileSAM"),
        (["image_encoder.pos_embed", "mask_decoder.hf_token.weight"], "HQ-SAM"),
    ],
)
def test_other_kinds_are_named_with_what_is_supported(tmp_path: Path, names: list[str], kind: str) -> None:
    file = tmp_path / "other.pt"
    torch.save({"model": dict.fromkeys(names, torch.zeros(1))}, file)
    with pytest.raises(WeightsError, match=rf"{kind}, which is not supported.*vit_h, vit_l or vit_b.*MedSAM"):
        read_sam(file)


def test_sam2_of_transformers(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "sam2"}')
    with pytest.raises(WeightsError, match=r"sam2, which is not supported.*vit_h"):
        read_sam(tmp_path)


def test_encoder_alone_has_the_published_way_with_pixels(tmp_path: Path) -> None:
    """Images of another size are resized to the encoder's own."""
    source, _ = original(tmp_path)
    config = load_preset("nano", seg_encoder=str(source)).segmentation_encoder
    encoder = build_image_encoder(config)
    [small], [large] = (extract_features(encoder, config, torch.full((1, 3, side, side), 0.4)) for side in (64, 96))
    torch.testing.assert_close(small, large)
