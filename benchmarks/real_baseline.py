"""MIMO beside MONAI's BasicUNet on a built data set: Dice of each entity on the test images, for each source.

    python benchmarks/real_baseline.py --dataset runs/data/dataset --weights runs/data/weights --minutes 10

A BasicUNet is trained for each source, at MIMO's resolution, with MIMO's augmentation and the Dice and BCE of its loss; all of
them together get `--minutes`, the time that MIMO was trained. MIMO is asked for each entity by name; an entity that it
does not ground counts 0. Only entities that are in the image are asked for.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict

import numpy as np
import torch
from datasets import Dataset as Rows
from monai.losses import DiceLoss
from monai.networks.nets import BasicUNet
from monai.utils import set_determinism
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from monai_mimo.data.dataset import rows_by_image
from monai_mimo.inference import MimoPredictor
from monai_mimo.metrics.matching import overlaps
from monai_mimo.metrics.phrases import normalise_phrase
from monai_mimo.mimoseg import load_mimoseg
from monai_mimo.mimoseg.rle import decode_rle
from monai_mimo.transforms import RandMove, SquareResize, rand_intensity

Image = tuple[np.ndarray, dict[str, np.ndarray]]  # pixels [h, w, 3], and masks bool [h, w] by entity


def images_by_source(rows: Rows) -> dict[str, list[Image]]:
    """Every image once, with all masks that some question about it has."""
    found = defaultdict(list)
    for numbers in rows_by_image(rows):
        group = [rows[n] for n in numbers]
        masks = {e["phrase"]: decode_rle(e["mask"]) for row in group for e in row["entities"]}
        found[group[0]["source"]].append((np.asarray(group[0]["image"].convert("RGB")), masks))
    return dict(found)


def train_unet(images: list[Image], entities: list[str], side: int, seconds: float, progress: str) -> BasicUNet:
    """One channel for each entity, batches of 16, until the time is over."""
    set_determinism(0)
    squares, targets = [], []
    for pixels, masks in images:
        resize = SquareResize(*pixels.shape[:2], side)
        empty = np.zeros(pixels.shape[:2], dtype=bool)
        squares.append(resize.image(pixels))
        targets.append(resize.masks(np.stack([masks.get(e, empty) for e in entities])))
    net = BasicUNet(2, 3, len(entities), features=(32, 32, 64, 128, 256, 32))
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    dice, move, intensity = DiceLoss(sigmoid=True), RandMove(), rand_intensity()
    rng = np.random.default_rng(0)
    end = time.perf_counter() + seconds
    with tqdm(desc=progress, unit="step") as bar:
        while time.perf_counter() < end:
            pairs = [move(squares[i], targets[i]) for i in rng.integers(len(squares), size=16)]
            batch = torch.stack([torch.as_tensor(np.asarray(intensity(image))).clamp(0, 1) for image, _ in pairs])
            wanted = torch.stack([masks for _, masks in pairs]).float()
            logits = net(batch)
            loss = 2 * F.binary_cross_entropy_with_logits(logits, wanted) + 0.5 * dice(logits, wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            bar.update()
    return net.eval()


@torch.no_grad()
def unet_masks(net: BasicUNet, pixels: np.ndarray, side: int) -> Tensor:
    """[entities, h, w], bool."""
    resize = SquareResize(*pixels.shape[:2], side)
    return resize.logits_to_image(net(resize.image(pixels)[None])[0]) > 0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--weights")
    parser.add_argument("--minutes", type=float, required=True)
    options = parser.parse_args()

    predictor = MimoPredictor.from_pretrained(options.weights)
    side = predictor.model.config.image_size
    train, test = (images_by_source(load_mimoseg(options.dataset, split)) for split in ("train", "test"))
    table = Table(box=None, pad_edge=False)
    for title in ("source", "entity", "masks", "MIMO Dice", "BasicUNet Dice", "ratio"):
        table.add_column(title, justify="left" if title in ("source", "entity") else "right")
    for source, images in train.items():
        entities = sorted({entity for _, masks in images for entity in masks})
        net = train_unet(images, entities, side, 60 * options.minutes / len(train), source)
        ours, theirs = defaultdict(list), defaultdict(list)
        for pixels, masks in test[source]:
            predictor.set_image(pixels)
            drawn = unet_masks(net, pixels, side).numpy()
            for entity, mask in masks.items():
                answered = predictor.ask(f"Segment the {entity} in this image.").entities
                found = [e.mask for e in answered if normalise_phrase(e.phrase) == normalise_phrase(entity)]
                ours[entity].append(overlaps(found[0], mask)[1] if found else 0.0)
                theirs[entity].append(overlaps(drawn[entities.index(entity)], mask)[1])
        for entity in entities:
            if ours[entity]:
                a, b = np.mean(ours[entity]), np.mean(theirs[entity])
                table.add_row(source, entity, str(len(ours[entity])), f"{a:.3f}", f"{b:.3f}", f"{a / b:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
