"""The out-of-domain score is the Mahalanobis distance to the nearest kind, in units of its limit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from monai_mimo.inference import MimoPredictor
from monai_mimo.inference.domain import Domain, summary
from monai_mimo.models.weights import load_weights, save_weights


def test_distance_is_mahalanobis_to_the_nearest_kind() -> None:
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(3, 3))
    kinds = [torch.from_numpy(rng.normal(size=(500, 3)) @ mix + centre).float() for centre in (0.0, 9.0)]
    domain = Domain.fit(kinds, torch.cat(kinds))
    centred = np.concatenate([k.numpy() - k.numpy().mean(0) for k in kinds])
    covariance = centred.T @ centred / len(centred)
    covariance = 0.9 * covariance + 0.1 * np.diag(np.diag(covariance))
    probe = rng.normal(size=(20, 3)) * 5
    expected = [
        min(np.sqrt((x - m) @ np.linalg.inv(covariance) @ (x - m)) for m in (k.numpy().mean(0) for k in kinds))
        for x in probe
    ]
    np.testing.assert_allclose(
        domain.distance(torch.from_numpy(probe).float()).numpy() * domain.limit, expected, rtol=1e-3
    )
    assert abs((domain.distance(torch.cat(kinds)) > 1).float().mean().item() - 0.01) < 0.002


def test_predictor_warns_of_an_image_unlike_those_of_training(nano_weights: Path, tmp_path: Path) -> None:
    model = load_weights(nano_weights)
    folder = save_weights(model, tmp_path / "weights")
    gray = torch.rand(60, 3, 64, 64) * 0.1 + 0.45
    with torch.no_grad():
        values = summary(model.encode(gray))
    Domain.fit([values[:40]], values[40:]).save(folder)
    predictor = MimoPredictor.from_pretrained(folder)
    for pixels, unlike in ((gray[0], False), (torch.rand(3, 64, 64).round(), True)):
        predictor.set_image((pixels * 255).byte().permute(1, 2, 0).numpy())
        warnings = predictor.ask("Where?", max_tokens=2).warnings
        assert any("unlike" in warning for warning in warnings) == unlike
