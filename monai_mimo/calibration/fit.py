"""Fit what warns of unknown images and what calibrates scores, on a built set: images of training and held-out questions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset as Rows
from ignite.engine import Engine, Events
from monai.transforms import Compose, RandAdjustContrast, RandScaleIntensity
from safetensors.torch import load_file, save_file
from scipy.ndimage import binary_erosion
from torch import Tensor

from ..data.dataset import rows_by_image
from ..data.names import REGION, plain_words
from ..errors import DataError
from ..evaluation.answer_records import AnswerRecord, records_of_batch
from ..evaluation.evaluator import GroundingEvaluator, evaluation_loader
from ..evaluation.progress import Progress
from ..evaluation.summary import scored_phrases
from ..files import atomic_folder
from ..inference import MimoPredictor
from ..metrics import is_correct
from ..metrics.calibration import fit_temperature
from ..metrics.grounding import gather
from ..mimoseg.encoding import decode_rle
from ..models import Mimo
from ..models.weights import ADAPTER_WEIGHTS, CONFIG, WEIGHTS
from ..transforms.augment import MIRRORS, RandMove
from ..transforms.prompts import sample_point, tight_box
from ..transforms.resize import SquareResize
from .domain import ImageDomain, feature_summary
from .temperature import CALIBRATION, load_temperature, save_temperature

IMAGES = 300  # of each kind and split, at most
FEWEST = 30  # answered phrases, right and wrong ones among them, to fit a temperature on


@dataclass(frozen=True)
class Calibration:
    """What was fitted; no `temperature` where too few phrases were answered. `phrases` counts those that there were."""

    domain: ImageDomain
    temperature: float | None
    phrases: int

    def save(self, weights: Path, fitted_on: str) -> None:
        """Put it beside the weights that it was fitted for."""
        self.domain.save(weights)
        if self.temperature is not None:
            save_temperature(weights, self.temperature, fitted_on)


def calibrate(model: Mimo, train: Rows, held_out: Rows, images: int = IMAGES) -> Calibration:
    """Fit the domain and the temperature of a model.

    Args:
        train: rows that it was trained on; held_out: others like them, that it was not trained on.
        images: of each kind and split, at most, for the domain; all questions of `held_out` are asked for the temperature.

    Raises:
        DataError: there are no images.
    """
    scored = scored_names(model, answered(model, held_out), held_out, images)
    return Calibration(fit_domain(model, train, held_out, images), temperature_of(*scored), len(scored[0]))


def scored_names(
    model: Mimo, records: Sequence[AnswerRecord], held_out: Rows, images: int = IMAGES
) -> tuple[list[float], list[bool]]:
    """Raw scores, and which are right, of the phrases of answers to questions, and of names told to prompts without words
    (`prompted.prompted_scores`), where weights know names."""
    pairs = [(p["score"], p["correct"]) for p in scored_phrases(records)] + prompted_scores(model, held_out, images)
    return [score for score, _ in pairs], [right for _, right in pairs]


def fit_domain(model: Mimo, train: Rows, held_out: Rows, images: int = IMAGES) -> ImageDomain:
    """The domain of a model's images, as they are and moved, with other contrast and brightness, as training shows them: its
    kinds are the sources and modalities of `train`, its limit is set on `held_out`.

    Raises:
        DataError: one of the two has no image.
    """
    changes = Changes()
    found: list[list[Tensor]] = []
    modalities: list[str] = []
    for rows in (train, held_out):
        kinds = images_by_kind(model, rows, images)
        modalities = modalities or [modality for _, modality in kinds]
        if not kinds:
            raise DataError("calibration", "no images", "images that were trained on, and others like them")
        found.append([summaries(model, [i for i, _ in kind] + [changes(*i) for i in kind]) for kind in kinds.values()])
    return ImageDomain.fit(found[0], torch.cat(found[1]), modalities=modalities)


def temperature_of(scores: Sequence[float], correct: Sequence[bool]) -> float | None:
    """`metrics.fit_temperature`; none where there is too little to fit it on."""
    if len(scores) < FEWEST or all(correct) or not any(correct):
        return None
    return fit_temperature(scores, correct)


def answered(model: Mimo, rows: Rows) -> list[AnswerRecord]:
    """The records of all questions of `rows`, with raw scores; in a run of several processes each must call it."""
    records: list[AnswerRecord] = []
    evaluator = GroundingEvaluator(
        next(model.parameters()).device,
        evaluation_loader(model, rows, 16),
        model,
        rows,
        val_handlers=[Progress("calibrating"), KeepRecords(records)],
    )
    evaluator.run()
    return gather(records)


class KeepRecords:
    """Appends the records of a `GroundingEvaluator` run to a list."""

    def __init__(self, records: list[AnswerRecord]) -> None:
        self.records = records

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        self.records += records_of_batch(engine.state.output)


class Changes:
    """Moves, contrast and brightness of images [3, S, S] in 0..1, drawn from a seed. No noise: it is of all changes the one that
    the finest maps show best, and would hide what they tell apart."""

    def __init__(self, seed: int = 0) -> None:
        self.move = RandMove().set_random_state(seed)
        self.light = Compose([RandAdjustContrast(prob=0.7, gamma=(0.7, 1.4)), RandScaleIntensity(0.15, prob=0.5)])
        self.light.set_random_state(seed)

    def __call__(self, image: Tensor, modality: str) -> Tensor:
        whole = torch.ones(1, *image.shape[1:], dtype=torch.bool)
        moved, _ = self.move(image, whole, MIRRORS.get(modality, (False, False)))
        return torch.as_tensor(np.asarray(self.light(moved))).float().clamp(0, 1)


@torch.no_grad()
def summaries(model: Mimo, images: Iterable[Tensor]) -> Tensor:
    """`domain.feature_summary` [n, F] of images [3, S, S]."""
    device, found = next(model.parameters()).device, []
    for image in images:
        maps = model.encoder_maps(image[None].to(device))
        found.append(feature_summary(maps, model.features(maps))[0])
    return torch.stack(found)


def images_by_kind(model: Mimo, rows: Rows, most: int) -> dict[tuple[str, str], list[tuple[Tensor, str]]]:
    """By source and modality, up to `most` images, as the model reads them, each with its modality."""
    found: dict[tuple[str, str], list[tuple[Tensor, str]]] = {}
    about = rows.select_columns(["source", "modality"])
    for numbers in rows_by_image(rows):
        kind = about[numbers[0]]["source"], about[numbers[0]]["modality"]
        if len(found.setdefault(kind, [])) < most:
            pixels = np.asarray(rows[numbers[0]]["image"].convert("RGB"))
            found[kind].append((SquareResize(*pixels.shape[:2], model.config.image_size).image(pixels), kind[1]))
    return found


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


def carry_calibration(folder: Path, out: Path) -> None:
    """Give weights in `out`, which compute what those in `folder` do, the calibration of those, if they have one."""
    temperature = load_temperature(folder)
    if temperature is not None:
        save_temperature(out, temperature, json.loads((folder / CALIBRATION).read_text()).get("fitted_on", ""))
    domain = ImageDomain.load(folder)
    if domain is not None:
        domain.save(out)


def ship(folder: Path, out: Path) -> Path:
    """Copy a weights folder with its tensors in float16, half as large; what reads them computes in float32 all the same.

    Raises:
        WeightsError: it is no weights folder, or damaged.
    """
    Mimo.from_pretrained(folder)
    with atomic_folder(out, replace=True) as new:
        shutil.copytree(folder, new, dirs_exist_ok=True)
        for name in (WEIGHTS, ADAPTER_WEIGHTS):
            if (new / name).exists():
                tensors = load_file(new / name)
                half = {k: t.half() if t.dtype in (torch.float32, torch.bfloat16) else t for k, t in tensors.items()}
                save_file(half, new / name, metadata={"format": "pt"})
                (new / name).chmod((new / CONFIG).stat().st_mode)  # for everyone who installs the package
        carry_calibration(folder, new)
    return out
