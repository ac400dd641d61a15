"""Frozen encoders run once: the store holds what they give, and training from it is training."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest
import torch
from datasets import Dataset

from monai_mimo.data.dataset import Augment, Item, MimoSegDataset, rows_by_image
from monai_mimo.data.feature_cache import EncoderMaps, FeatureCache, image_key
from monai_mimo.data.order import Draw
from monai_mimo.data.variants import variants_of
from monai_mimo.engines import SamplingConfig, encode_once, load_sets, prepare_batch, training_loader
from monai_mimo.engines.features import variant_image
from monai_mimo.errors import DataError, InputError
from monai_mimo.models import Mimo
from monai_mimo.transforms.augment import MIRRORS

from ..conftest import make_nano
from .small_set import write_set

FROZEN = {"name": "convolutions", "frozen": True}
BATCH = {"images_per_batch": 3, "global_batch": 3, "questions_per_image": 2}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_sets({"a": str(write_set(tmp_path_factory.mktemp("set") / "set"))}, "train")


@pytest.fixture
def model() -> Mimo:
    return make_nano(image_encoder=FROZEN, segmentation_encoder=FROZEN)


def test_a_store_gives_back_what_was_put_in(tmp_path: Path) -> None:
    maps = EncoderMaps([torch.rand(2, 3, 4, 4), torch.rand(2, 5, 2, 2)], [torch.rand(2, 1, 1, 1)])
    store = FeatureCache(tmp_path / "store")
    store.add([image_key(b"a"), image_key(b"b")], maps)
    again = FeatureCache(tmp_path / "store")
    assert len(again) == 2
    assert image_key(b"c") not in again
    for part, expected in zip(again[image_key(b"b")], maps):
        assert all(torch.equal(m, e[1].bfloat16()) for m, e in zip(part, expected, strict=True))
    [file] = (tmp_path / "store").iterdir()
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(DataError, match=file.name):
        FeatureCache(tmp_path / "store")


def test_a_step_from_the_store_is_a_step_from_the_images(tmp_path: Path, rows: Dataset, model: Mimo) -> None:
    """The same loss and gradients but for the rounding to bfloat16, and the encoders are not asked."""
    store = encode_once(model, rows, tmp_path, images_per_batch=4)

    def gradients(features: FeatureCache | None) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        from monai_mimo.losses import MimoLoss

        loader = training_loader(model, rows, SamplingConfig(**BATCH, augment_images=False), features)
        [batch] = next(iter(loader))
        images, targets, _, kwargs = prepare_batch(batch)
        model.zero_grad()
        loss = MimoLoss()(model.train()(images, **kwargs), targets)
        loss.backward()
        return loss.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    loss, expected = gradients(None)
    calls = []
    for encoder in (model.image_encoder, model.segmentation_encoder):
        encoder.register_forward_hook(lambda *_: calls.append(1))
    cached_loss, cached = gradients(store)
    assert not calls
    assert cached_loss == pytest.approx(loss.item(), rel=2e-3)
    assert cached.keys() == expected.keys()
    for name in ("neck.output.0.weight", "input_aligner.queries"):
        assert torch.cosine_similarity(cached[name].flatten(), expected[name].flatten(), dim=0) > 0.99


def test_images_are_encoded_once_and_an_interruption_loses_only_what_was_not_written(
    tmp_path: Path, rows: Dataset, model: Mimo
) -> None:
    encoded = []
    hook = model.image_encoder.register_forward_hook(lambda _, images, __: encoded.append(len(images[0])))
    stop = model.image_encoder.register_forward_pre_hook(lambda *_: 1 / 0 if sum(encoded) > 8 else None)
    with pytest.raises(ZeroDivisionError):
        encode_once(model, rows, tmp_path, images_per_batch=2, file_bytes=1)
    stop.remove()
    images = len(set(rows["image_id"]))
    [folder] = tmp_path.iterdir()
    kept = len(FeatureCache(folder))
    assert 0 < kept < images
    encoded.clear()
    assert len(encode_once(model, rows, tmp_path, images_per_batch=2)) == images
    assert sum(encoded) == images - kept + 1  # one to see how large the maps are
    encoded.clear()
    encode_once(model, rows, tmp_path)
    assert not encoded
    hook.remove()
    with torch.no_grad():
        next(model.image_encoder.parameters()).add_(1)
    encode_once(model, rows, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2  # other weights, another store


def test_what_cannot_be_cached_is_refused(tmp_path: Path, rows: Dataset, nano: Mimo, model: Mimo) -> None:
    with pytest.raises(InputError, match="trained image_encoder"):
        encode_once(nano, rows, tmp_path)
    with pytest.raises(InputError, match="augment_images"):
        training_loader(model, rows, SamplingConfig(**BATCH), FeatureCache(tmp_path / "empty"))


def test_stored_variants_are_changed_images_whose_masks_lie_on_them(tmp_path: Path, rows: Dataset, model: Mimo) -> None:
    """The squares of this set are bright and all else is dark, so the image itself tells where a mask must be."""
    side = model.config.image_size
    encoded = rows.cast_column("image", datasets.Image(decode=False))
    features = encode_once(model, rows, tmp_path, variants=4)
    groups = rows_by_image(rows)
    assert len(features) == 4 * len(groups)
    data = MimoSegDataset(rows, model.conversation(), side, features=features, variants=4)
    seen: dict[int, set[int]] = {}
    for image, group in enumerate(groups):
        for seed in range(8):
            item = data.drawn(Draw(image, (0,), seed))
            number = [v.key for v in item.variants if torch.equal(features[v.key].image[0], item.image.image[0])]
            key, picture = variant_image(
                [encoded[row] for row in group], place := keys(item).index(number[0]), side, Augment()
            )
            assert key == number[0]
            expected = model.encoder_maps(picture[None]).image[0][0]
            torch.testing.assert_close(item.image.image[0].float(), expected, atol=0.02, rtol=0.02)
            seen.setdefault(image, set()).add(place)
            if len(item.masks):
                bright, mask = picture.mean(0) > 0.5, item.masks.any(0)
                assert (bright & mask).sum() > 0.85 * (bright | mask).sum()
    assert set().union(*seen.values()) == {0, 1, 2, 3}
    [again] = tmp_path.iterdir()
    files = sorted(again.iterdir())
    encode_once(model, rows, tmp_path, variants=4)
    assert sorted(again.iterdir()) == files  # the same when they are made again


def keys(item: Item) -> list[bytes]:
    return [variant.key for variant in item.variants]


def test_an_image_that_is_asked_for_a_place_stays_as_it_is(rows: Dataset) -> None:
    encoded = rows.cast_column("image", datasets.Image(decode=False))
    plain, placed = [encoded[0]], [{**encoded[0], "value": {"kind": "count", "answer": "left"}}]
    assert len(variants_of(plain, 3)) == 3
    assert len(variants_of(placed, 3)) == 1
    assert variants_of([*plain, *placed], 3) == variants_of(plain, 3)  # drawn for the one, not for the other
    assert variants_of(plain, 3)[1].key != variants_of(plain, 3, strong=True)[1].key
    sided = [{**encoded[0], "question": "Where is the left one?"}]
    assert (variants_of(sided, 3)[1] == variants_of(plain, 3)[1]) == (plain[0]["modality"] not in MIRRORS)
