"""The bundle's chain of MONAI transforms, held against the predictor."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from PIL import Image

from monai_mimo.inference import MimoPredictor
from monai_mimo.transforms import SquareResize

BUNDLE = Path(__file__).parents[2] / "bundles" / "mimo"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Two dark lungs in a bright chest, wider than high."""
    y, x = np.ogrid[:150, :200]
    pixels = np.full((150, 200), 190.0)
    for centre in (62, 138):
        pixels[((x - centre) / 30) ** 2 + ((y - 72) / 55) ** 2 < 1] = 60
    pixels += np.random.default_rng(0).normal(0, 4, pixels.shape)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / "chest.png")
    return tmp_path / "chest.png"


def parser(**changes: object) -> ConfigParser:
    out = ConfigParser()
    out.read_config(str(BUNDLE / "configs" / "inference.yaml"))
    out.update({"bundle_root": str(BUNDLE), "device": "$torch.device('cpu')", **changes})
    return out


def test_segmenting_gives_the_mask_of_the_predictor_with_the_shipped_weights(picture: Path, tmp_path: Path) -> None:
    config = parser(image=str(picture), phrase="lung", output_dir=str(tmp_path / "out"))
    config.get_parsed_content("segmenting")
    [file] = (tmp_path / "out").iterdir()
    mask = np.array(Image.open(file).convert("L")) > 127
    assert mask.shape == (150, 200)
    predictor = MimoPredictor.from_pretrained("lite")
    predictor.set_image(picture)
    [entity] = predictor.ask("Segment the lung in this image.").entities
    assert (mask & entity.mask).sum() / (mask | entity.mask).sum() > 0.9
    image = config.get_parsed_content("dataset")[0]["image"]
    own = SquareResize(150, 200, 128).image(np.array(Image.open(picture).convert("RGB")))
    assert (torch.as_tensor(image) - own).abs().mean() < 0.01  # another kernel against aliasing


def test_images_of_one_name_and_slices_of_a_volume_have_files_of_their_own(picture: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "chest.png"
    other.parent.mkdir()
    other.write_bytes(picture.read_bytes())
    volume = tmp_path / "ct.nii.gz"
    nib.save(nib.Nifti1Image(np.random.default_rng(0).normal(40, 90, (24, 20, 3)).astype(np.int16), np.eye(4)), volume)
    images = [str(picture), str(other), *({"image": str(volume), "slice": number} for number in (0, 2))]
    parser(images=images, phrase="lung", output_dir=str(tmp_path / "out")).get_parsed_content("segmenting")
    written = {str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*.png")}
    assert written == {"chest_lung.png", "other/chest_lung.png", "ct_lung_0.png", "ct_lung_2.png"}


def test_a_transform_of_ones_own_is_used(picture: Path) -> None:
    config = parser(image=str(picture))
    chain = config.get("preprocessing")["transforms"]
    config["preprocessing#transforms"] = [*chain, {"_target_": "Lambdad", "keys": "image", "func": "$lambda x: 1 - x"}]
    turned = config.get_parsed_content("dataset")[0]["image"]
    plain = parser(image=str(picture)).get_parsed_content("dataset")[0]["image"]
    torch.testing.assert_close(torch.as_tensor(turned), 1 - torch.as_tensor(plain))
