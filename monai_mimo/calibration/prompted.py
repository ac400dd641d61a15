"""Scores of answers to prompts without words: on what is labelled, and beside it, where any name is wrong."""

from __future__ import annotations

import numpy as np
from datasets import Dataset as Rows
from scipy.ndimage import binary_erosion

from ..data.dataset import rows_by_image
from ..data.names import REGION, plain_words
from ..inference import MimoPredictor
from ..metrics import is_correct
from ..mimoseg.encoding import decode_rle
from ..models import Mimo
from ..transforms.prompts import sample_point, tight_box


def prompted_scores(model: Mimo, rows: Rows, images: int, seed: int = 0) -> list[tuple[float, bool]]:
    """The raw score of each name that is told to a prompt, and whether the name is right and its IoU above 0.5.

    Args:
        images: of `rows`, at most, evenly spread: a box and a click on each structure, and as many clicks beside them all.
    """
    if model.region_names is None:
        return []
    predictor, random = MimoPredictor(model, device=next(model.parameters()).device), np.random.RandomState(seed)
    groups = rows_by_image(rows)
    found: list[tuple[float, bool]] = []
    for place in np.unique(np.linspace(0, len(groups) - 1, min(images, len(groups))).astype(int)):
        encoded = {e["phrase"]: e["mask"] for number in groups[place] for e in rows[number]["entities"]}
        masks = {name: decode_rle(mask) for name, mask in encoded.items()}
        if not masks:
            continue
        predictor.set_image(np.asarray(rows[groups[place][0]]["image"].convert("RGB")))
        beside = binary_erosion(~np.any(list(masks.values()), axis=0), iterations=3)
        for name, mask in masks.items():
            answers = [predictor.ask(boxes=[tight_box(mask)]), predictor.ask(points=[sample_point(mask, random)])]
            if beside.any():
                answers.append(predictor.ask(points=[sample_point(beside, random)]))
            for number, entity in ((n, e) for n, answer in enumerate(answers) for e in answer.entities):
                if entity.phrase != REGION:
                    right = number < 2 and plain_words(entity.phrase) == plain_words(name)
                    iou = (entity.mask & mask).sum() / (entity.mask | mask).sum()
                    found.append((entity.score, right and bool(is_correct([iou])[0])))
    return found
