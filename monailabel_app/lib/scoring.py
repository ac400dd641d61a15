"""The scoring tasks `dice` and `f1`: the labels that a task made (`original`) against those that a person accepted (`final`)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.scoring import ScoringMethod

from monai_mimo.errors import MimoError
from monai_mimo.metrics.matching import Grounded, match_pairs, overlaps
from monai_mimo.mimoseg.sources.labelled import OVERLAP, plain_name

from .final_labels import label_file, label_names
from .pacs import read_labels

logger = logging.getLogger(__name__)
DICE, F1 = "dice", "f1"


class Agreement(ScoringMethod):
    """A number from 0 to 1 for each image that has both labels.

    Args:
        measure: "dice", the mean over the names in either label (one that is in only one of them has 0), or "f1", grounding
            F1: a name is right when both have it and IoU is above 0.5.
    """

    def __init__(self, measure: str) -> None:
        super().__init__(
            {DICE: "Mean Dice of the named structures", F1: "Grounding F1 of the named structures"}[measure]
        )
        self.measure = measure

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, float]:
        """Image id -> score, which is also kept in the information about the image. `y` and `y_pred` of the request name the
        labels, `final` and `original` by default."""
        defaults = (("y", DefaultLabelTag.FINAL.value), ("y_pred", DefaultLabelTag.ORIGINAL.value))
        tags = [str(request.get(key) or default) for key, default in defaults]
        scores: dict[str, float] = {}
        for image_id in datastore.list_images():
            if not all(datastore.get_label_by_image_id(image_id, tag) for tag in tags):
                continue
            try:
                reference, predicted = (masks(datastore, image_id, tag) for tag in tags)
                score = mean_dice(predicted, reference) if self.measure == DICE else grounding_f1(predicted, reference)
            except (MimoError, ValueError) as error:
                logger.warning("skipped an image: %s", error)
                continue
            scores[image_id] = score
            datastore.update_image_info(image_id, {self.measure: score})
        return scores


def masks(datastore: Datastore, image_id: str, tag: str) -> dict[str, np.ndarray]:
    """Name -> mask [i, j, k] of the label of an image; what has no name is called by its value. Where segments overlap, a
    voxel is of all their masks."""
    values = read_labels(label_file(datastore, image_id, tag))
    names = {value: name.split(OVERLAP) for name, value in label_names(datastore, image_id, tag).items()}
    found: dict[str, np.ndarray] = {}
    for value in (int(v) for v in np.unique(values) if v):
        for part in names.get(value, [f"label {value}"]):
            name = plain_name(part) or part
            here = values == value
            found[name] = found[name] | here if name in found else here
    return found


def mean_dice(predicted: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> float:
    """Over the names in either; 1 if there is none."""
    _same_grid(predicted, reference)
    names = predicted.keys() | reference.keys()
    both = predicted.keys() & reference.keys()
    dice = sum(overlaps(predicted[name], reference[name])[1] for name in both)
    return dice / len(names) if names else 1.0


def grounding_f1(predicted: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> float:
    """Of one image; 1 if neither names anything."""
    _same_grid(predicted, reference)
    if not predicted and not reference:
        return 1.0
    one, other = (Grounded(list(m), list(m.values())) for m in (predicted, reference))
    return 2 * len(match_pairs(one, other)) / (len(predicted) + len(reference))


def _same_grid(predicted: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> None:
    shapes = {mask.shape for mask in (*predicted.values(), *reference.values())}
    if len(shapes) > 1:
        raise ValueError(f"labels of different shapes {sorted(shapes)}")
