"""Windows: of CT, of other values, of pictures, and as a dictionary transform."""

from __future__ import annotations

import numpy as np

from monai_mimo.transforms import (
    WindowByModalityd,
    window,
)


def test_ct_window_is_the_soft_tissue_one() -> None:
    values = np.array([-2000, -160, 40, 240, 3000], dtype=np.int16).reshape(1, 1, 5)
    assert window(values, "CT").ravel().tolist() == [0, 0, 128, 255, 255]


def test_other_values_are_scaled_between_percentiles() -> None:
    values = np.linspace(0, 1000, 10_001, dtype=np.float32).reshape(1, 73, 137)
    shown = window(values, "MR")
    low, high = np.percentile(values[values > 0], (0.5, 99.5))
    expected = np.clip((values - low) / (high - low), 0, 1) * 255
    np.testing.assert_allclose(shown, expected, atol=0.51)


def test_pictures_and_constants() -> None:
    picture = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    np.testing.assert_array_equal(window(picture, "X-ray"), picture)
    assert window(np.full((1, 3, 3), 5.0), None).max() == 0


def test_dictionary_version() -> None:
    values = np.array([[[0, 40]]], dtype=np.int16)
    out = WindowByModalityd("image")({"image": values, "modality": "CT"})
    np.testing.assert_array_equal(out["image"], window(values, "CT"))
