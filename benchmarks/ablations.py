"""What is each part of the image side's training worth? The first stage of `lite`, with one part switched off at a time.

    mimo build --data DATA --split 80:10:10 --out SET
    python benchmarks/ablations.py --dataset SET --out OUT --minutes 20 --seeds 0,1

Each run trains for so many minutes of the training process's own processor time, so a busy machine does not make one run shorter
than another, and is measured on images of the validation and test patients at the model's own resolution, at most --per-set of
each set: Dice by name, in a tight box, of one click and after five corrective ones, and how often the name is told from the true
mask. Dice is the mean over structures of a set, then over sets. Parts are switched off from outside, so that the package carries
no switches. A run that has ended is not run again; one that was stopped goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from datasets import concatenate_datasets
from obey import THIN
from rich.console import Console
from rich.table import Table
from torch.nn import functional as F

from monai_mimo.data.prompt_maps import RegionPrompts, prompt_batch
from monai_mimo.data.region_images import RegionImage, region_images
from monai_mimo.data.regions import REGION_KINDS, SMALLEST
from monai_mimo.data.simulated_prompts import correct, simulate
from monai_mimo.data.tokenizer import train_tokenizer
from monai_mimo.engines import load_sets
from monai_mimo.engines.checkpoints import Checkpoints
from monai_mimo.engines.handlers import TimeBudget
from monai_mimo.engines.pretraining import encoder
from monai_mimo.models import Mimo, load_preset
from monai_mimo.transforms.prompts import tight_box

LEFT_OUT = "octa_faz,prostate158_mr,carotid_us,sarcoma_pet,thyroid_gland_us_tg3k"
CLICKS = 5


class Variant(NamedTuple):
    """A training without a part.

    Attributes:
        kinds: how often each kind of target is drawn.
        rounds: see `encoder.ROUNDS`.
        change: done to the model before it is trained; it holds when the model is measured, too.
        only: the one set to train on.
        preset: changes of the preset `lite`.
    """

    kinds: dict[str, float] = REGION_KINDS
    rounds: tuple[float, ...] = encoder.ROUNDS
    change: Callable[[Mimo], object] = lambda model: None
    only: str | None = None
    preset: Mapping[str, object] = MappingProxyType({})


def without_maps(model: Mimo) -> None:
    """Empty prompt maps: prompts enter as SAM's tokens alone, and no mask is fed back."""
    model.mask_decoder.fine.register_forward_pre_hook(lambda _, args: (*args[:3], torch.zeros_like(args[3])))


def without_condition(model: Mimo) -> None:
    """The same condition for every name, as if `<SEG>` said nothing."""
    names = model.region_names
    told = names.condition
    names.condition = lambda ids: told(torch.full_like(ids, names.region_id))


VARIANTS = {
    "all parts": Variant(),
    "no regions without a name": Variant(kinds={**REGION_KINDS, "region": 0.0}),
    "no correction rounds": Variant(rounds=encoder.ROUNDS[:1]),
    "no prompt maps": Variant(change=without_maps),
    "no condition (<SEG>)": Variant(change=without_condition),
    "polyps alone": Variant(only="endoscopy_polyp"),
    "192 px": Variant(preset={"image_size": 192}),
}


def main() -> None:
    """Train, measure and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="default: all, %(default)s")
    parser.add_argument("--left-out", default=LEFT_OUT, help="sets that are not trained on")
    parser.add_argument("--per-set", type=int, default=6)
    options = parser.parse_args()
    left_out = options.left_out.split(",")
    folders = {"set": options.dataset}
    rows = load_sets(folders, "train", left_out=left_out)
    names = encoder.with_names(load_preset("lite"), rows).names
    trained_on = region_images(rows)
    asked = concatenate_datasets([load_sets(folders, split) for split in ("validation", "test")])
    cases = some_of_each_set(region_images(asked), options.per_set)
    for seed in map(int, options.seeds.split(",")):
        for name in options.variants.split(","):
            folder = options.out / f"{name}-{seed}".replace(" ", "-")
            result = folder / "result.json"
            if not result.exists():
                model = train(VARIANTS[name], names, trained_on, options.minutes, seed, folder)
                values = measure(model, cases, left_out)
                result.write_text(json.dumps({"variant": name, "seed": seed, "minutes": options.minutes, **values}))
            show([json.loads(file.read_text()) for file in sorted(options.out.glob("*/result.json"))], left_out)


def some_of_each_set(images: list[RegionImage], per_set: int) -> list[RegionImage]:
    """At most `per_set` images of each set that show something, evenly spread."""
    of_set: dict[str, list[RegionImage]] = defaultdict(list)
    for image in images:
        if image.names and image.source not in THIN:
            of_set[image.source].append(image)
    places = {s: np.unique(np.linspace(0, len(i) - 1, min(per_set, len(i))).astype(int)) for s, i in of_set.items()}
    return [of_set[source][place] for source in sorted(of_set) for place in places[source]]


def train(variant: Variant, names: dict, images: list[RegionImage], minutes: float, seed: int, folder: Path) -> Mimo:
    """A new `lite` without its texts, on regions."""
    torch.manual_seed(seed)
    config = load_preset("lite", names=names, **variant.preset)
    model = Mimo(config, train_tokenizer(["where is the liver?"], config.language_model.vocabulary))
    variant.change(model)
    chosen = [image for image in images if variant.only in (None, image.source)]
    training = config.training
    with (
        patch.object(encoder, "region_images", lambda _: chosen),
        patch.object(encoder, "ROUNDS", variant.rounds),
        patch.object(TimeBudget, "clock", lambda _: time.process_time()),
    ):
        checkpoints = Checkpoints(folder, {"ablation": folder.name, "minutes": minutes}, every=100)
        encoder.pretrain_encoder(
            model,
            None,
            minutes,
            training.learning_rate,
            training.encoder_learning_rate,
            checkpoints=checkpoints,
            seed=seed,
            kinds=variant.kinds,
        )
    if checkpoints.stopped:
        raise SystemExit(f"stopped; the same command goes on from {folder}")
    return model.eval()


@torch.no_grad()
def measure(model: Mimo, cases: list[RegionImage], left_out: list[str]) -> dict[str, dict[str, float]]:
    """What is asked -> set -> its mean over structures."""
    side, names = model.config.image_size, model.region_names
    known = list(names.names)
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number, image in enumerate(cases):
        rng = np.random.default_rng(number)
        pixels = torch.from_numpy(image.pixels).float().div(255)
        pixels = pixels.permute(2, 0, 1) if pixels.ndim == 3 else pixels.expand(3, -1, -1)
        features = model.encode(F.interpolate(pixels[None], (side, side), mode="area"))
        stack = torch.from_numpy(np.stack([image.mask(n) for n in range(len(image.names))])).float()
        masks = F.interpolate(stack[None], (side, side), mode="area")[0] >= 0.5
        shown = [(name, mask) for name, mask in zip(image.names, masks) if mask.sum() >= SMALLEST]
        for name, mask in shown:
            asked = torch.tensor([known.index(name) if name in known else names.region_id])
            nothing = torch.tensor([names.region_id])
            if name in known and image.source not in left_out:
                found["name"][image.source].append(dice(decode(model, features, asked, RegionPrompts(), side)[0], mask))
                half = F.avg_pool2d(mask[None, None].float(), 2)[:, 0]
                told = names.chances(features, torch.zeros(1, dtype=torch.long), half).argmax()
                found["name told"][image.source].append(float(told == asked[0]))
            found["box"][image.source].append(
                dice(decode(model, features, nothing, RegionPrompts(boxes=[tight_box(mask.numpy())]), side)[0], mask)
            )
            click = simulate(mask.numpy(), rng, kind="click")
            logits, coordinates, labels, maps = decode(model, features, nothing, click, side)
            found["click"][image.source].append(dice(logits, mask))
            coarse = F.avg_pool2d(mask[None, None].float(), 2)[:, 0] >= 0.5
            generator = torch.Generator().manual_seed(number)
            for _ in range(CLICKS):
                maps, clicks, inside = correct(maps, logits.float(), coarse, generator)
                coordinates = torch.cat([coordinates, clicks[:, None]], dim=1)
                labels = torch.cat([labels, inside.long()[:, None]], dim=1)
                logits, _ = model.decode(
                    features, torch.zeros(1, dtype=torch.long), names.condition(nothing), coordinates, labels, maps
                )
            found["click + 5"][image.source].append(dice(logits, mask))
    return {kind: {source: float(np.mean(v)) for source, v in of_set.items()} for kind, of_set in found.items()}


def dice(logits: torch.Tensor, mask: torch.Tensor) -> float:
    """Of mask logits [1, g, g] against bool [S, S]."""
    found = F.interpolate(logits[:, None].float(), mask.shape, mode="bilinear")[0, 0] > 0
    return float(2 * (found & mask).sum() / (found.sum() + mask.sum()))


def decode(
    model: Mimo, features: object, ids: torch.Tensor, prompts: RegionPrompts, side: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mask logits [1, g, g] of one region, and its prompts as tokens and maps."""
    coordinates, labels, maps = map(torch.from_numpy, prompt_batch([prompts], side))
    condition = model.region_names.condition(ids)
    logits, _ = model.decode(features, torch.zeros(1, dtype=torch.long), condition, coordinates, labels, maps)
    return logits, coordinates, labels, maps


def show(results: list[dict], left_out: list[str]) -> None:
    """A row for each run."""
    table = Table("without", "seed", "by name", "box", "click", "click + 5", "left out: box", "click", "click + 5")
    for heading in ("name told", "polyps: by name", "box"):
        table.add_column(heading)

    def mean(values: dict[str, float], wanted: Callable[[str], bool]) -> str:
        kept = [v for source, v in values.items() if wanted(source)]
        return f"{np.mean(kept):.3f}" if kept else ""

    for run in results:
        kinds = ("box", "click", "click + 5")
        table.add_row(
            run["variant"],
            str(run["seed"]),
            *(mean(run[kind], lambda s: s not in left_out) for kind in ("name", *kinds)),
            *(mean(run[kind], lambda s: s in left_out) for kind in kinds),
            mean(run["name told"], lambda s: True),
            *(mean(run[kind], lambda s: s == "endoscopy_polyp") for kind in ("name", "box")),
        )
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
