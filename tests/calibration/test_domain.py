"""The out-of-domain score is the Mahalanobis distance to the nearest kind, in units of its limit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from monai_mimo.calibration.domain import DOMAIN, ImageDomain, feature_summary
from monai_mimo.data.feature_cache import EncoderMaps
from monai_mimo.errors import WeightsError
from monai_mimo.inference import MimoPredictor
from monai_mimo.models import Mimo
from monai_mimo.models.image_encoder import ImageFeatures
from monai_mimo.models.weights import save_weights


def mahalanobis(x: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> float:
    return float(np.sqrt((x - mean) @ np.linalg.inv(covariance) @ (x - mean)))


def shrunk(values: np.ndarray) -> np.ndarray:
    covariance = np.cov(values.T, bias=True)
    return 0.9 * covariance + 0.1 * np.diag(np.diag(covariance))


def test_distance_is_mahalanobis_to_the_nearest_kind() -> None:
    rng = np.random.default_rng(0)
    kinds = [rng.normal(size=(500, 3)) @ rng.normal(size=(3, 3)) + centre for centre in (0.0, 9.0)]
    tensors = [torch.from_numpy(k).float() for k in kinds]
    domain = ImageDomain.fit(tensors, torch.cat(tensors))
    probe = rng.normal(size=(20, 3)) * 5
    expected = [min(mahalanobis(x, k.mean(0), shrunk(k)) for k in kinds) for x in probe]
    np.testing.assert_allclose(
        domain.distance(torch.from_numpy(probe).float()).numpy() * domain.limit, expected, rtol=1e-3
    )
    assert abs((domain.distance(torch.cat(tensors)) > 1).float().mean().item() - 0.01) < 0.002


def test_a_file_of_the_first_version_means_what_it_meant(tmp_path: Path) -> None:
    """One whitening for all kinds, and summaries of the context."""
    rng = np.random.default_rng(1)
    means, whitening = (torch.from_numpy(rng.normal(size=s)).float() for s in ((2, 4), (4, 4)))
    save_file({"means": means, "whitening": whitening, "limit": torch.tensor(2.5)}, tmp_path / DOMAIN)
    domain = ImageDomain.load(tmp_path)
    assert domain is not None
    context = torch.from_numpy(rng.normal(size=(3, 2, 5, 5))).float()
    maps, features = EncoderMaps([torch.zeros(3, 1, 20, 20)], []), ImageFeatures(context, context, ())
    values = torch.cat([context.mean(dim=(2, 3)), context.std(dim=(2, 3))], dim=1)
    expected = torch.cdist(values @ whitening, means @ whitening).amin(dim=1) / 2.5
    torch.testing.assert_close(domain.ood_score(maps, features), expected)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    values = torch.from_numpy(np.random.default_rng(2).normal(size=(60, 4))).float()
    fitted = ImageDomain.fit([values, values + 3], values, maps="context")
    fitted.save(tmp_path)
    read = ImageDomain.load(tmp_path)
    assert read is not None
    assert read.maps == "context"
    torch.testing.assert_close(read.distance(values * 2), fitted.distance(values * 2))
    assert [path.name for path in tmp_path.iterdir()] == [DOMAIN]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / DOMAIN).write_bytes(b"no tensors")
    with pytest.raises(WeightsError, match=DOMAIN):
        ImageDomain.load(tmp_path)


def test_the_summary_is_of_the_two_finest_maps() -> None:
    maps = [torch.rand(2, channels, side, side) for channels, side in ((3, 16), (5, 8), (7, 4))]
    features = ImageFeatures(torch.rand(2, 8, 4, 4), torch.rand(2, 8, 4, 4), ())
    expected = [s for m in maps[:2] for s in (m.mean(dim=(2, 3)), m.std(dim=(2, 3)))]
    torch.testing.assert_close(feature_summary(EncoderMaps(maps, []), features), torch.cat(expected, dim=1))
    assert feature_summary(EncoderMaps(maps[:1], []), features).shape == (2, 6)  # a vision transformer has one map


@pytest.mark.parametrize("maps", ["fine", "context"])
def test_predictor_warns_of_an_image_unlike_those_of_training(nano_weights: Path, tmp_path: Path, maps: str) -> None:
    model = Mimo.from_pretrained(nano_weights)
    folder = save_weights(model, tmp_path / "weights")
    gray = torch.rand(60, 3, 64, 64) * 0.1 + 0.45
    with torch.no_grad():
        encoded = model.encoder_maps(gray)
        values = feature_summary(encoded, model.features(encoded), maps)
    ImageDomain.fit([values[:40]], values[40:], maps=maps).save(folder)
    predictor = MimoPredictor.from_pretrained(folder)
    for pixels, unlike in ((gray[0], False), (torch.rand(3, 64, 64).round(), True)):
        predictor.set_image((pixels * 255).byte().permute(1, 2, 0).numpy())
        warnings = predictor.ask("Where?", max_tokens=2).warnings
        assert any("unlike" in warning for warning in warnings) == unlike
