"""How good are masks in 3-D: of a question, of one click, and corrected; beside clicking slice by slice, and trivial answers.

    python benchmarks/volumes.py --data Task04_Hippocampus --dataset SET --patients 6 --out OUT
    python benchmarks/volumes.py --phantom 4 --clicks 10 --out OUT
    python benchmarks/volumes.py --ct 400

The volumes are of the test patients (`--split`) of a built set (`mimo build --data DATA --split 80:10:10 --out SET`), evenly
spread, with their labels from the folder that the set was built from (Medical Segmentation Decathlon layout). A simulated user
clicks in the middle of the structure, then in the middle of the largest connected error, again and again; slice by slice the user
clicks in the middle of the structure on every slice, from its middle outwards, and keeps what each click shows. Dice is the mean
over patients; what is not found counts 0. Seconds are those that the processor computed on one thread, which other work on the
machine changes little. With --phantom the volumes are drawn, half of them CT and half MR, and asked for the names that are known;
weights that learned from real images never saw the like. With --ct a phantom of 512 x 512 x N voxels is asked for one name; the
peak is that of the process, over what it had with the volume.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib import pyplot
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import ndimage

from monai_mimo.inference import MimoPredictor
from monai_mimo.inference.volume_session import VolumeSession
from monai_mimo.mimoseg import load_mimoseg
from monai_mimo.mimoseg.questions.templates import listed
from monai_mimo.phantom.draw_volumes import CT_LABELS, MR_LABELS, draw_ct, draw_mr
from monai_mimo.transforms import MedicalImage
from monai_mimo.transforms.grid import Grid
from monai_mimo.transforms.reading import read_grid

GOAL = 0.9
ROWS = {
    "words": "asked by name",
    "one click": "one click",
    "corrected": "after {clicks} corrective clicks",
    "slices": "a click on every slice",
    "copied": "trivial: middle slice's true mask, copied along its true extent",
    "ellipsoid": "trivial: ellipsoid in its true box",
}


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / max(a.sum() + b.sum(), 1))


def surface_distance(a: np.ndarray, b: np.ndarray, spacing: np.ndarray) -> float:
    """Mean distance in mm of the surface voxels of each mask to the other's surface."""
    edges = [m & ~ndimage.binary_erosion(m) for m in (a, b)]
    to = [ndimage.distance_transform_edt(~e, sampling=spacing) for e in edges]
    return float(np.concatenate([to[1][edges[0]], to[0][edges[1]]]).mean())


def middle(mask: np.ndarray) -> tuple[int, ...]:
    """The voxel or pixel farthest from the edge."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))
    return tuple(int(v) - 1 for v in np.unravel_index(depth.argmax(), depth.shape))


def largest_error(mask: np.ndarray, truth: np.ndarray) -> np.ndarray:
    parts, _ = ndimage.label(mask ^ truth)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return parts == sizes.argmax()


def clicked(session: VolumeSession, truth: np.ndarray, clicks: int) -> tuple[list[float], list[float], np.ndarray]:
    """Dice after one click and after each correction, and seconds of each correction; the last mask."""
    mask = session.add_click(middle(truth))
    found, seconds = [dice(mask, truth)], []
    for _ in range(clicks):
        if (mask != truth).any():
            place = middle(largest_error(mask, truth))
            begin = time.process_time()
            mask = session.add_click(place, bool(truth[place]))
            seconds.append(time.process_time() - begin)
        found.append(dice(mask, truth))
    return found, seconds, mask


def slice_by_slice(predictor: MimoPredictor, image: MedicalImage, truth: np.ndarray) -> list[float]:
    """Dice after each click, one on every slice that has some of the structure."""
    shown = image.to_display(truth)
    areas = shown.sum((1, 2))
    frames = np.zeros(shown.shape, dtype=bool)
    found = []
    for number in sorted(np.flatnonzero(areas), key=lambda n: abs(n - int(areas.argmax()))):
        row, column = middle(shown[number])
        predictor.set_image(image, int(number))
        for entity in predictor.ask(points=[(column, row)]).entities:
            frames[number] |= entity.mask
        found.append(dice(frames, shown))
    return found


def trivial(truth: np.ndarray, axis: int) -> tuple[float, float]:
    """Dice of the middle slice's mask copied along the structure's extent, and of the ellipsoid in its box."""
    held = np.argwhere(truth)
    low, high = held.min(0), held.max(0) + 1
    copied = np.zeros_like(truth)
    along = [np.s_[:]] * 3
    along[axis] = np.s_[low[axis] : high[axis]]
    copied[tuple(along)] = np.take(truth, [(low[axis] + high[axis]) // 2], axis=axis)
    grid = np.indices(truth.shape).transpose(1, 2, 3, 0) + 0.5
    ellipsoid = (((grid - (low + high) / 2) / ((high - low) / 2)) ** 2).sum(-1) <= 1
    return dice(copied, truth), dice(ellipsoid, truth)


Volume = tuple[
    MedicalImage, np.ndarray, dict[int, str]
]  # an image, its labels on the same voxels, and what they are called


def decathlon(predictor: MimoPredictor, data: Path, files: list[str]) -> Iterator[Volume]:
    """The volumes of a folder in the layout of the Medical Segmentation Decathlon."""
    names = {int(v): n for v, n in json.loads((data / "dataset.json").read_text())["labels"].items() if int(v)}
    called = {value: full_name(predictor, name) for value, name in names.items()}
    for file in track(files, "volumes"):
        labels = np.asarray(read_grid(data / file.replace("imagesTr", "labelsTr")).values)
        yield MedicalImage.open(data / file, modality="MR"), labels, called


def phantoms(predictor: MimoPredictor, count: int) -> Iterator[Volume]:
    """`count` CT and as many MR volumes; a lesion of the liver belongs to it."""
    known = predictor.model.config.names or [*CT_LABELS.values(), *MR_LABELS.values()]
    kinds = [("CT", draw_ct, CT_LABELS), ("MR", draw_mr, MR_LABELS)]
    for number, (modality, draw_one, names) in track([(n, kind) for kind in kinds for n in range(count)], "phantoms"):
        drawn = draw_one(np.random.default_rng([7, number]))
        grid = Grid(drawn.values, np.diag([*drawn.spacing_mm, 1.0]))
        labels = np.where(drawn.labels == 5, 1, drawn.labels)
        called = {value: name for value, name in names.items() if name in known and (labels == value).any()}
        yield MedicalImage(grid, Path("phantom"), "axial", modality), labels, called


def measure(predictor: MimoPredictor, volumes: Iterable[Volume], clicks: int) -> dict[str, Any]:
    """All of some volumes."""
    values: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for image, labels, called in volumes:
        if not called:
            continue
        spacing = np.linalg.norm(image.affine[:3, :3], axis=0)  # type: ignore[index]
        predictor.set_volume(image)
        begin = time.process_time()
        answer = predictor.ask_volume(f"Segment the {listed(list(called.values()))} in this image.")
        values["all"]["seconds of the question"].append(time.process_time() - begin)
        values["all"]["slices"].append(image.n_slices)
        for value, name in called.items():
            truth, own = labels == value, values[name]
            masks = [e.mask for e in answer.entities if e.phrase == name]
            own["words"].append(dice(masks[0], truth) if masks else 0.0)
            if masks:
                own["words, mm"].append(surface_distance(masks[0], truth, spacing))
            volume = predictor.encode_volume(image)
            volume.features(range(1))
            begin = time.process_time()
            curve, seconds, mask = clicked(VolumeSession(volume), truth, clicks)
            values["all"]["seconds of a click and its corrections"].append(time.process_time() - begin)
            values["all"]["seconds of a correction"] += seconds
            own["one click"].append(curve[0])
            own["corrected"].append(curve[min(5, clicks)])
            if mask.any():
                own["corrected, mm"].append(surface_distance(mask, truth, spacing))
            own["curve"].append(curve)
            own["slices curve"].append(slice_by_slice(predictor, image, truth))
            own["slices"].append(own["slices curve"][-1][-1])
            copied, ellipsoid = trivial(truth, image.axes[0][0])
            own["copied"].append(copied)
            own["ellipsoid"].append(ellipsoid)
    return {name: dict(of) for name, of in values.items()}


def full_name(predictor: MimoPredictor, name: str) -> str:
    """The known name that has the words of a label's ("Anterior" is the anterior hippocampus)."""
    known = list(predictor.names.known.names) if predictor.names is not None else []
    return next((n for n in known if n == name.lower()), None) or next(n for n in known if name.lower() in n.split())


def reached(curves: list[list[float]]) -> tuple[float, float]:
    """The mean number of clicks to `GOAL`, where one that is not reached counts all clicks; and how many reach it, in 0..1."""
    counts = [next((n + 1 for n, d in enumerate(c) if d >= GOAL), None) for c in curves]
    return float(np.mean([n or len(c) for n, c in zip(counts, curves)])), float(
        np.mean([n is not None for n in counts])
    )


def markdown(result: dict[str, Any]) -> str:
    """The table of a result."""
    names = [n for n in result["measured"] if n != "all"]
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for key, text in ROWS.items():
        cells = []
        for name in names:
            own = result["measured"][name]
            cell = f"{np.mean(own[key]):.3f}"
            if f"{key}, mm" in own:
                cell += f" ({np.mean(own[f'{key}, mm']):.2f} mm)"
            cells.append(cell)
        lines.append(f"| {text.format(clicks=5)} | " + " | ".join(cells) + " |")
    for key, text in (("curve", "in 3-D"), ("slices curve", "slice by slice")):
        cells = ["{:.1f} (reached by {:.0%})".format(*reached(result["measured"][n][key])) for n in names]
        lines.append(f"| clicks to Dice {GOAL}, {text} | " + " | ".join(cells) + " |")
    every = result["measured"]["all"]
    corrections = every["seconds of a correction"]
    lines += [
        "",
        f"{len(every['slices'])} volumes, {result['weights']}. One thread computed "
        f"{np.mean(every['seconds of the question']):.1f} s for a question about {np.mean(every['slices']):.0f} slices, and "
        f"{np.mean(corrections):.3f} s ({np.max(corrections):.3f} s at most) for a correction.",
    ]
    return "\n".join(lines) + "\n"


def draw(result: dict[str, Any], out: Path) -> None:
    """Dice over clicks, in 3-D and slice by slice."""
    matplotlib.use("Agg")
    figure, axes = pyplot.subplots(figsize=(7, 4))
    for colour, name in zip(pyplot.colormaps["tab10"].colors, (n for n in result["measured"] if n != "all")):
        own = result["measured"][name]
        for key, style in (("curve", "-"), ("slices curve", ":")):
            longest = max(map(len, own[key]))
            mean = np.mean([c + c[-1:] * (longest - len(c)) for c in own[key]], axis=0)
            label = f"{name}, {'in 3-D' if key == 'curve' else 'slice by slice'}"
            axes.plot(range(1, longest + 1), mean, style, color=colour, label=label)
    axes.axhline(GOAL, color="grey", linewidth=0.5)
    axes.set(xlabel="clicks", ylabel="Dice", ylim=(0, 1))
    axes.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(out, dpi=110)


def ct(predictor: MimoPredictor, slices: int, name: str) -> dict[str, float]:
    """Memory and time of a question about a large CT."""
    values = np.full((512, 512, slices), -1000, dtype=np.int16)
    x, y = np.ogrid[-1:1:512j, -1:1:512j]
    for k in range(slices):
        z = 2 * k / slices - 1
        values[(x / 0.8) ** 2 + (y / 0.6) ** 2 <= 1, k] = 40
        values[((x - 0.3) / 0.35) ** 2 + (y / 0.35) ** 2 + (z / 0.5) ** 2 <= 1, k] = 110
    image = MedicalImage(Grid(values, np.diag([-0.8, -0.8, 1.5, 1])), Path("phantom"), "axial", "CT")
    before = current_mb()
    begin, computed = time.perf_counter(), time.process_time()
    predictor.set_volume(image)
    answer = predictor.ask_volume(f"Segment the {name} in this image.")
    return {
        "slices": slices,
        "volume_mb": values.nbytes / 2**20,
        "peak_over_volume_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before,
        "seconds_per_slice": (time.perf_counter() - begin) / slices,
        "computed_seconds_per_slice": (time.process_time() - computed) / slices,
        "found": len(answer.entities),
    }


def current_mb() -> float:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="imagesTr, labelsTr and dataset.json")
    parser.add_argument("--dataset", type=Path, help="built from it, which tells whose patients are whose")
    parser.add_argument("--split", default="test", help="whose patients; constants were chosen on those of validation")
    parser.add_argument("--weights", default=None)
    parser.add_argument("--patients", type=int, default=20)
    parser.add_argument("--clicks", type=int, default=20, help="corrective ones of the curve")
    parser.add_argument(
        "--phantom", type=int, metavar="N", help="N phantom CT and N phantom MR volumes, in place of --data"
    )
    parser.add_argument("--ct", type=int, metavar="SLICES", help="ask about a phantom CT of so many slices")
    parser.add_argument("--ct-name", default="liver")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    predictor = MimoPredictor.from_pretrained(args.weights)
    console = Console()
    if args.ct:
        measured = ct(predictor, args.ct, args.ct_name)
        table = Table("what", "measured")
        for name, value in measured.items():
            table.add_row(name, f"{value:.4g}")
        console.print(table)
    if args.data or args.phantom:
        chosen: list[str] = []
        if args.data:
            rows = load_mimoseg(args.dataset, args.split).select_columns(["source", "file"])
            files = sorted({r["file"] for r in rows if r["source"] == args.data.name})
            places = np.linspace(0, len(files) - 1, min(args.patients, len(files))).astype(int)
            chosen = [files[n] for n in np.unique(places)]
        volumes = decathlon(predictor, args.data, chosen) if args.data else phantoms(predictor, args.phantom)
        result = {
            "weights": predictor.model_info["weights"],
            "files": chosen,
            "measured": measure(predictor, volumes, args.clicks),
        }
        text = markdown(result)
        console.print(text, markup=False)
        if args.out:
            args.out.mkdir(parents=True, exist_ok=True)
            (args.out / "volumes.json").write_text(json.dumps(result, indent=1))
            (args.out / "volumes.md").write_text(text)
            draw(result, args.out / "clicks.png")


if __name__ == "__main__":
    main()
