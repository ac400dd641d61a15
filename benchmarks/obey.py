"""Do answers obey? Whether the word and the prompt decide which region is meant, set by set, beside trivial answers.

    mimo build --data DATA --split 80:10:10 --out runs/obey/set
    python benchmarks/obey.py --dataset runs/obey/set --weights WEIGHTS --out runs/obey/result

Images of the validation and test patients are asked; with --left-out SET,SET,... also the images of these sets, which the
weights have not seen. Everything goes through `MimoPredictor.ask`, as a person would. Dice is the mean over structures of a set,
then over sets; what is not outlined counts 0. Corrective clicks go to the middle of the largest error, five in a row. Of each
set at most --per-set images are asked, evenly spread. Pictures show the median and the worst answer of each kind of prompt, of
sets whose licence allows it. "held or nothing" says little of the weights: the predictor withholds a mask that does not hold its
click; "no name" beside it does.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from datasets import Dataset as Rows
from leave_one_out import ellipse_in
from PIL import Image as PILImage
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import ndimage
from skimage.segmentation import random_walker

from monai_mimo.data.names import REGION, plain_words
from monai_mimo.data.other_questions import held_out_names, held_out_questions
from monai_mimo.data.simulated_prompts import centerline, click_inside, scribble
from monai_mimo.inference import Answer, MimoPredictor
from monai_mimo.metrics import reliability
from monai_mimo.metrics.text import measured_accuracy, measured_answer
from monai_mimo.mimoseg import load_mimoseg
from monai_mimo.mimoseg.catalogue.plausible import view
from monai_mimo.mimoseg.encoding import decode_rle
from monai_mimo.models.default_weights import find_weights
from monai_mimo.transforms.prompts import tight_box
from monai_mimo.visualize import PanelRow, panel

OLD = ("chest_xray_lung", "ct_liver", "endoscopy_polyp", "ultrasound_nerve", "Task04_Hippocampus")
FREE = ("chest_xray_lung", "ct_liver", "Task04_Hippocampus")  # CC0 and CC BY-SA
THIN = ("fundus_vessel_avrdb", "fundus_vessel_drive_av", "fundus_exudate_idrid", "pulmonary_vessels_ct")
SMALLEST = 20  # pixels of a structure that is asked for
PAIRS = 3  # of structures of an image that prompts are swapped between
RESAMPLES = 1000  # of the bootstrap
WALKER_SIDE = 160  # pixels of the longer side of an image for the random walker
WALKER_BETA = 1e4  # the best of 130 (scikit-image's default), 1e3, 1e4 and 1e5 on ten images of five sets


class Case(NamedTuple):
    """An image uint8 [h, w, 3] with the masks bool [h, w] of its structures by name."""

    source: str
    patient: str
    modality: str
    pixels: np.ndarray
    masks: dict[str, np.ndarray]


class Row(NamedTuple):
    """One measured value: of a kind, a set, a patient, and a structure or an image."""

    kind: str
    source: str
    patient: str
    value: float


def cases_of(rows: Rows, per_set: int, only: Iterable[str] | None, without: Iterable[str] = ()) -> list[Case]:
    """At most `per_set` images of each set, evenly spread, with all that is labelled in them."""
    found: dict[str, dict[str, tuple[int, dict]]] = defaultdict(dict)
    columns = (rows[c] for c in ("source", "image_id", "entities"))
    for number, (source, image, entities) in enumerate(zip(*columns)):
        if source in without or (only is not None and source not in only):
            continue
        _, masks = found[source].setdefault(image, (number, {}))
        masks.update({e["phrase"]: e["mask"] for e in entities})
    cases = []
    for source, images in sorted(found.items()):
        labelled = [image for image in images.values() if image[1]]
        for place in np.unique(np.linspace(0, len(labelled) - 1, min(per_set, len(labelled))).astype(int)):
            number, encoded = labelled[place]
            row = rows[number]
            masks = {name: decode_rle(rle).astype(bool) for name, rle in encoded.items()}
            masks = {name: mask for name, mask in masks.items() if mask.sum() >= SMALLEST}
            if masks:
                pixels = np.asarray(row["image"].convert("RGB"))
                cases.append(Case(source, row["patient"], row["modality"], pixels, masks))
    return cases


def dice(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(2 * (found & wanted).sum() / max(found.sum() + wanted.sum(), 1))


def iou(found: np.ndarray, wanted: np.ndarray) -> float:
    return float((found & wanted).sum() / max((found | wanted).sum(), 1))


def mask_of(answer: Answer, name: str | None = None) -> np.ndarray:
    """What an answer outlines: of one name, or all that it does."""
    masks = [e.mask for e in answer.entities if name is None or same(e.phrase, name)]
    return np.any(masks, axis=0) if masks else np.zeros(answer.size, dtype=bool)


def same(phrase: str, name: str) -> bool:
    return plain_words(phrase) == plain_words(name)


def walked(case: Case, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """The random walker (Grady 2006) from scribbles, on a smaller image."""
    scale = min(1.0, WALKER_SIDE / max(inside.shape))
    size = tuple(max(1, round(n * scale)) for n in inside.shape)
    grey = PILImage.fromarray(case.pixels).convert("L").resize(size[::-1], PILImage.Resampling.BILINEAR)
    seeds = np.zeros(size, dtype=int)
    for label, line in ((2, outside), (1, inside)):
        at = (np.argwhere(line) * scale).astype(int)
        seeds[at[:, 0].clip(max=size[0] - 1), at[:, 1].clip(max=size[1] - 1)] = label
    found = random_walker(np.asarray(grey) / 255.0, seeds, beta=WALKER_BETA, mode="bf") == 1
    whole = PILImage.fromarray(found.astype(np.uint8)).resize(inside.shape[::-1], PILImage.Resampling.NEAREST)
    return np.asarray(whole).astype(bool)


def next_click(found: np.ndarray, wanted: np.ndarray) -> tuple[int, int, int] | None:
    """The middle of the largest connected error, (x, y, 1 where it is missing or 0 where it is too much)."""
    wrong, count = ndimage.label(found != wanted)
    if not count:
        return None
    largest = wrong == 1 + np.argmax(np.bincount(wrong.ravel())[1:])
    depth = ndimage.distance_transform_edt(np.pad(largest, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return int(column), int(row), int(wanted[row, column])


class Mean(NamedTuple):
    """A mean with its 95 % interval, and how many values it is of."""

    value: float
    low: float
    high: float
    count: int


class Measured:
    """Values by kind and set, and scores with whether they were right."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.scores: list[tuple[float, bool]] = []
        self.patient = ""  # of the case that is asked about
        self.shown: dict[str, list[tuple[float, PanelRow]]] = defaultdict(
            list
        )  # answers for pictures, by kind of prompt

    def add(self, kind: str, source: str, value: float) -> None:
        self.rows.append(Row(kind, source, self.patient, float(value)))

    def show(self, kind: str, case: Case, wanted: np.ndarray, answer: Answer, question: str, **given: Any) -> None:
        """Keep what may be shown: of sets whose licence allows it."""
        if case.source in FREE:
            masks, spans = [e.mask for e in answer.entities], [e.span for e in answer.entities]
            row = PanelRow(case.pixels, question, answer.text, spans, masks, [wanted], title=kind, **given)
            self.shown[kind].append((dice(mask_of(answer), wanted), row))

    def judge(self, answer: Answer, masks: dict[str, np.ndarray]) -> None:
        """Scores of what is named: right if there is such a structure, and its IoU above 0.5."""
        for entity in answer.entities:
            if entity.phrase != REGION:
                wanted = next((m for name, m in masks.items() if same(entity.phrase, name)), None)
                self.scores.append((entity.score, wanted is not None and iou(entity.mask, wanted) > 0.5))

    def mean(self, kind: str, sources: Iterable[str] | None = None) -> Mean:
        """The mean over sets of their means, with an interval from a bootstrap over the patients of each set."""
        by_set: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for row in self.rows:
            if row.kind == kind and (sources is None or row.source in sources):
                by_set[row.source][row.patient].append(row.value)
        if not by_set:
            return Mean(float("nan"), float("nan"), float("nan"), 0)
        means, drawn, rng = [], [], np.random.default_rng(0)
        for patients in by_set.values():
            sums = np.array([(sum(values), len(values)) for values in patients.values()])
            means.append(sums[:, 0].sum() / sums[:, 1].sum())
            picked = sums[rng.integers(len(sums), size=(RESAMPLES, len(sums)))].sum(1)
            drawn.append(picked[:, 0] / picked[:, 1])
        low, high = np.quantile(np.mean(drawn, axis=0), (0.025, 0.975))
        return Mean(
            float(np.mean(means)), float(low), float(high), sum(len(v) for p in by_set.values() for v in p.values())
        )


def most_frequent_names(rows: Rows) -> dict[str, str]:
    """What is named most often in each set: a name that needs no look at the image."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for source, entities in zip(rows["source"], rows["entities"]):
        counts[source].update(entity["phrase"] for entity in entities)
    return {source: names.most_common(1)[0][0] for source, names in counts.items() if names}


def prompts(
    predictor: MimoPredictor, case: Case, frequent: dict[str, str], measured: Measured, rng: np.random.Generator
) -> None:
    """Prompts without words on each structure."""
    predictor.set_image(case.pixels)
    once = replace(predictor.encode(case.pixels), pixels=None)  # without pixels there is no second look
    for name, mask in case.masks.items():
        box = tight_box(mask)
        answer = predictor.ask(boxes=[box])
        measured.judge(answer, {name: mask})
        found = mask_of(answer)
        measured.add("box", case.source, dice(found, mask))
        measured.show("box", case, mask, answer, "(a box)", boxes=[box])
        first = predictor.ask_about(once, boxes=[box])
        measured.add("box, without the second look", case.source, dice(mask_of(first), mask))
        measured.add("box named right", case.source, any(same(e.phrase, name) for e in answer.entities))
        measured.add("the set's most frequent name", case.source, name == frequent.get(case.source))
        measured.add("ellipse", case.source, dice(ellipse_in(box, *mask.shape), mask))
        clicks: list[tuple[int, int, int]] = []
        logits = answer.entities[0].logits if answer.entities else None
        for _ in range(5):
            click = next_click(found, mask)
            if click is None:
                break
            clicks.append(click)
            answer = predictor.ask(points=clicks, boxes=[box], mask_input=logits)
            found = mask_of(answer)
            logits = answer.entities[0].logits if answer.entities else logits
        measured.add("box + 5 clicks", case.source, dice(found, mask))
        measured.show(
            "box + 5 clicks", case, mask, answer, f"(a box and {len(clicks)} clicks)", boxes=[box], points=clicks
        )
        x, y = click_inside(mask, rng)
        answer = predictor.ask(points=[(int(x), int(y))])
        measured.judge(answer, {name: mask})
        measured.add("click", case.source, dice(mask_of(answer), mask))
        measured.show("click", case, mask, answer, "(a click)", points=[(int(x), int(y))])
        inside, outside = centerline(mask, rng), scribble(~mask, rng) if not mask.all() else None
        answer = predictor.ask(scribbles=(inside, None))
        measured.add("scribble", case.source, dice(mask_of(answer), mask))
        line = [(float(x), float(y)) for y, x in np.argwhere(inside)[::3]]
        measured.show("scribble", case, mask, answer, "(a scribble)", points=line)
        if outside is not None:
            both = predictor.ask(scribbles=(inside, outside))
            measured.add("scribbles in and out", case.source, dice(mask_of(both), mask))
            measured.add("random walker, the same scribbles", case.source, dice(walked(case, inside, outside), mask))
    beside = ~np.any(list(case.masks.values()), axis=0)
    beside = ndimage.binary_erosion(beside, iterations=max(2, max(beside.shape) // 50), border_value=1)
    if beside.any():
        for question in ("", "What is at <point>?"):
            row, column = rng.choice(np.argwhere(beside))
            answer = predictor.ask(question, points=[(column, row)])
            measured.judge(answer, case.masks)
            held = all(e.mask[row, column] for e in answer.entities)
            measured.add("click beside: held or nothing", case.source, held)
            measured.add("click beside: no name", case.source, all(e.phrase == REGION for e in answer.entities))


def swaps(predictor: MimoPredictor, case: Case, measured: Measured, rng: np.random.Generator) -> None:
    """A box or point on A, then on B: both must be named and outlined."""
    predictor.set_image(case.pixels)
    names = sorted(case.masks)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    for number in rng.permutation(len(pairs))[:PAIRS]:
        for kind in ("box", "point"):
            right, same_answer = [], []
            for name in pairs[number]:
                mask = case.masks[name]
                if kind == "box":
                    answer = predictor.ask("What is in <box>?", boxes=[tight_box(mask)])
                else:
                    only = mask & (np.sum(list(case.masks.values()), axis=0) == 1)
                    x, y = click_inside(only if only.any() else mask, rng)
                    answer = predictor.ask("What is at <point>?", points=[(int(x), int(y))])
                measured.judge(answer, case.masks)
                right.append(any(same(e.phrase, name) and iou(e.mask, mask) > 0.5 for e in answer.entities))
                same_answer.append(any(same(e.phrase, name) for e in answer.entities))
            measured.add(f"swap, {kind}", case.source, all(right))
            measured.add(f"swap, {kind}: names alone", case.source, all(same_answer))


def by_name(
    predictor: MimoPredictor, case: Case, frequent: dict[str, str], measured: Measured, rng: np.random.Generator
) -> None:
    """Each structure by its name, by a name with a typing error, by synonyms; and with `<SEG>` states that are not its own; and
    all of them without a name."""
    predictor.set_image(case.pixels)
    image = predictor.encode(case.pixels)
    names = list(case.masks)
    questions = [(f"Where is the {name}?",) for name in names]
    answers = predictor.ask_many(image, questions)
    first_looks = predictor.ask_many(replace(image, pixels=None), questions)
    own = []
    for name, answer, first in zip(names, answers, first_looks):
        measured.judge(answer, case.masks)
        own.append(dice(mask_of(answer, name), case.masks[name]))
        measured.add("by name", case.source, own[-1])
        measured.show("by name", case, case.masks[name], answer, f"Where is the {name}?")
        measured.add("by name, without the second look", case.source, dice(mask_of(first, name), case.masks[name]))
        measured.add("known name refused", case.source, not answer.entities)
        long = [word for word in name.split() if len(word) >= 5]
        if long:
            word = str(rng.choice(long))
            at = int(rng.integers(1, len(word) - 2))
            typed = name.replace(word, word[:at] + word[at + 1] + word[at] + word[at + 2 :])
            found = mask_of(predictor.ask(f"Where is the {typed}?"), name)
            measured.add("typing error found", case.source, found.any() or not mask_of(answer, name).any())
        for other in predictor.model.config.names.get(name, ())[:2]:
            found = mask_of(predictor.ask(f"Show me the {other}."), name)
            measured.add("synonym found", case.source, found.any() or not mask_of(answer, name).any())
    seen = predictor.ask("What do you see?")
    measured.judge(seen, case.masks)
    told = [any(same(e.phrase, name) for name in names) for e in seen.entities]
    if told:
        measured.add("asked what is there: names right", case.source, float(np.mean(told)))
    measured.add("asked what is there: names told", case.source, sum(told) / len(names))
    measured.add("always the set's most frequent: right", case.source, frequent.get(case.source) in names)
    measured.add("always the set's most frequent: told", case.source, (frequent.get(case.source) in names) / len(names))
    mirrored = predictor.encode(np.ascontiguousarray(case.pixels[:, ::-1]))
    for name, answer in zip(names, predictor.ask_many(mirrored, questions)):
        if not {"left", "right"} & set(name.split()):
            measured.add("by name, mirrored", case.source, dice(mask_of(answer, name)[:, ::-1], case.masks[name]))
    if len(names) > 1:
        for kind, change in (("zero", lambda states: states * 0), ("another's", lambda states: states.roll(1, 0))):
            handle = predictor.model.mask_decoder.text_projection.register_forward_hook(lambda _m, _i, out: change(out))  # noqa: B023
            try:
                changed = predictor.ask_many(image, questions)
            finally:
                handle.remove()
            falls = [before - dice(mask_of(a, n), case.masks[n]) for n, a, before in zip(names, changed, own)]
            measured.add(f"fall of Dice, <SEG> {kind}", case.source, float(np.mean(falls)))


def refusals(predictor: MimoPredictor, cases: Sequence[Case], measured: Measured, rng: np.random.Generator) -> None:
    """Names that nobody taught, each on an image that cannot show it; and questions about nothing that images answer."""
    labels: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        labels[case.source].update(case.masks)
    asked: Counter[str] = Counter()
    wordings = ("Where is the {}?", "Show the {}.", "Can you outline the {}?", "Is there a {} here?")
    for name in track(held_out_names(), "unknown names"):
        for _ in range(8):
            case = cases[int(rng.integers(len(cases)))]
            if name in held_out_names(view(case.source, labels[case.source], case.modality).parts):
                predictor.set_image(case.pixels)
                answer = predictor.ask(wordings[asked.total() % len(wordings)].format(name))
                measured.patient = name  # each name is one draw
                measured.add("unknown name refused", "all", not answer.entities)
                asked[name] += 1
                break
    for question in held_out_questions():
        predictor.set_image(cases[int(rng.integers(len(cases)))].pixels)
        answer = predictor.ask(question)
        measured.patient = question
        measured.add("off topic: nothing grounded", "all", not answer.entities)


def from_masks(predictor: MimoPredictor, rows: Rows, count: int) -> dict[str, Any]:
    """Accuracy of questions that masks answer, `count` of each kind."""
    kinds: dict[str, list[int]] = defaultdict(list)
    for number, (perspective, value) in enumerate(zip(rows["perspective"], rows["value"])):
        if perspective == 5:
            kinds[value["kind"]].append(number)
    answers = []
    for kind, numbers in kinds.items():
        for place in track(np.unique(np.linspace(0, len(numbers) - 1, min(count, len(numbers))).astype(int)), kind):
            row = rows[numbers[place]]
            predictor.set_image(np.asarray(row["image"].convert("RGB")))
            answer = predictor.ask(row["question"], [p[:2] for p in row["points"]], row["boxes"])
            answers.append(measured_answer(kind, row["value"]["answer"], answer.text))
    return measured_accuracy(answers)


def costs(predictor: MimoPredictor, case: Case, weights: Path) -> dict[str, float]:
    """Seconds of a second question (the median of 9), peak memory and size of the weights."""
    predictor.set_image(case.pixels)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        predictor.ask(f"Where is the {next(iter(case.masks))}?")
        times.append(time.perf_counter() - start)
    size = sum(f.stat().st_size for f in weights.rglob("*") if f.is_file()) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"second question, s": float(np.median(times[1:])), "peak memory, GB": peak, "weights, MB": size}


def pictures(measured: Measured, folder: Path) -> None:
    """Of each kind of prompt the answer whose Dice is the median, and the worst, as two panels."""
    ordered = [sorted(rows, key=lambda row: row[0]) for rows in measured.shown.values()]
    for name, pick in (("median", lambda rows: rows[len(rows) // 2]), ("worst", lambda rows: rows[0])):
        picked = [pick(rows) for rows in ordered]
        for value, row in picked:
            row.title = f"{row.title}: {value:.2f}"
        if picked:
            panel([row for _, row in picked], folder / f"prompts-{name}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--weights", type=find_weights, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--per-set", type=int, default=40)
    parser.add_argument("--per-kind", type=int, default=60, help="questions of each kind that masks answer")
    parser.add_argument("--left-out", default="", help="sets that the weights have not seen: \"A,B\" or \"['A', 'B']\"")
    args = parser.parse_args()
    left_out = re.findall(r"[\w-]+", args.left_out)
    predictor = MimoPredictor.from_pretrained(args.weights)
    train = load_mimoseg(args.dataset, "train")
    sizes = Counter(dict(zip(train["image_id"], train["source"])).values())
    cases: list[Case] = []
    for split in ("validation", "test"):
        rows = load_mimoseg(args.dataset, split)
        cases += cases_of(rows, (args.per_set + 1) // 2, None, left_out)
    unseen = cases_of(train, args.per_set, left_out) if left_out else []
    measured, rng, frequent = Measured(), np.random.default_rng(0), most_frequent_names(train)
    for case in track([*cases, *unseen], "prompts"):
        measured.patient = case.patient
        prompts(predictor, case, frequent, measured, rng)
    for case in track(cases, "names"):
        measured.patient = case.patient
        by_name(predictor, case, frequent, measured, rng)
        if len(case.masks) > 1:
            swaps(predictor, case, measured, rng)
    measured.patient = ""
    refusals(predictor, cases, measured, rng)
    values = from_masks(predictor, load_mimoseg(args.dataset, "test"), args.per_kind)
    seen = {c.source for c in cases} - set(THIN)
    groups = {
        **{source: [source] for source in OLD if source in seen},
        "new, 100 images and more": [s for s in seen if s not in OLD and sizes[s] >= 80],  # 80 % of them for training
        "new, fewer": [s for s in seen if s not in OLD and sizes[s] < 80],
        "left out": sorted({c.source for c in unseen} - set(THIN)),
        "thin": [s for s in THIN if any(c.source == s for c in [*cases, *unseen])],
        "all": None,
    }
    kinds = list(dict.fromkeys(row.kind for row in measured.rows))
    table = {kind: {group: measured.mean(kind, sources) for group, sources in groups.items()} for kind in kinds}
    scores, right = zip(*measured.scores)
    result = {
        "table": table,
        "from_masks": values,
        "calibration_error": reliability(scores, right).ece,
        "scores": len(scores),
        "costs": costs(predictor, cases[0], args.weights),
        "per_set": args.per_set,
        "left_out": left_out,
        "weights": predictor.model_info["weights"],
        "sets": {
            s: {k: measured.mean(k, [s]).value for k in kinds} for s in sorted({c.source for c in [*cases, *unseen]})
        },
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "obey.json").write_text(json.dumps(result, indent=1))
    pictures(measured, args.out)
    shown = Table("", *groups)
    for kind in kinds:
        shown.add_row(kind, *(f"{m.value:.3f} ({m.count})" if m.count else "" for m in table[kind].values()))
    console = Console(width=220)
    console.print(shown)
    console.print({k: (v["accuracy"], v["majority"], v["samples"]) for k, v in values.items()})
    console.print("calibration error", result["calibration_error"], result["costs"])


if __name__ == "__main__":
    main()
