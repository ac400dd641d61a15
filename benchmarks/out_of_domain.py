"""How often weights warn of images like those of training, and of images of other kinds.

    python benchmarks/out_of_domain.py --dataset runs/real/set --weights WEIGHTS --phantom PHANTOM [--pictures FOLDER ...]

What they compare with, `mimo calibrate` has fitted. The table is made on test images, on those of a built set of phantoms
(`make train` makes runs/phantom/dataset), on skimage's sample pictures, and on any folder of pictures or of one DICOM series.
None of them takes part in the fit.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import skimage
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from tqdm import tqdm

from monai_mimo.calibration.domain import ImageDomain
from monai_mimo.calibration.fit import images_by_kind, summaries
from monai_mimo.errors import WeightsError
from monai_mimo.mimoseg import load_mimoseg
from monai_mimo.models import Mimo
from monai_mimo.transforms import MedicalImage, SquareResize

PICTURES = (".png", ".jpg", ".jpeg")


def square(model: Mimo, pixels: np.ndarray) -> Tensor:
    """uint8 [h, w] or [h, w, 3] as the model sees it."""
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return SquareResize(*pixels.shape[:2], model.config.image_size).image(pixels)


def pictures_in(model: Mimo, folder: Path) -> list[Tensor]:
    """Pictures in a folder, or the inner slices of the DICOM series in it."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in PICTURES)
    if files:
        return [square(model, np.asarray(Image.open(file).convert("RGB"))) for file in files]
    series = MedicalImage.open(folder)
    fifth = series.n_slices // 5
    return [square(model, series.slice(n)) for n in range(fifth, series.n_slices - fifth)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--phantom", required=True, help="a built set of phantoms")
    parser.add_argument(
        "--pictures", type=Path, nargs="+", default=[], help="folders of other pictures, or of a series"
    )
    parser.add_argument("--images", type=int, default=300, help="of each kind, at most")
    options = parser.parse_args()

    model = Mimo.from_pretrained(options.weights)
    domain = ImageDomain.load(options.weights)
    if domain is None:
        raise WeightsError(options.weights, "no image domain", "weights that `mimo calibrate` has seen")

    measured: dict[str, Tensor] = {}
    for folder in (options.dataset, options.phantom):
        test = load_mimoseg(folder, "test")
        for kind, images in tqdm(images_by_kind(model, test, options.images).items()):
            measured[", ".join(kind)] = summaries(model, [image for image, _ in images])
    samples = Path(skimage.__path__[0]) / "data"
    for folder in (samples, *options.pictures):
        name = "skimage.data" if folder == samples else folder.name
        measured[name] = summaries(model, pictures_in(model, folder))
    table = Table(box=None, pad_edge=False)
    for title in ("images", "n", "median distance", "warned"):
        table.add_column(title)
    for name, values in measured.items():
        distance = domain.distance(values)
        warned = (distance > 1).float().mean().item()
        table.add_row(name, str(len(values)), f"{distance.median().item():.2f}", f"{warned:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
