"""How fast, how flat and how resumable is `mimo build`? All ratios of a part are taken in one run, side by side.

python benchmarks/builder.py [speed] [memory] [million] [resume] [series] [reading]     (all: some minutes, and 3 GB in TMPDIR)
python benchmarks/builder.py speed reading --busy     (one process, by the time that it computes: on a machine that does other things)

| part | what | target |
|---|---|---|
| speed | slices per second in 2 processes (one if busy), against a plain MONAI loop (LoadImaged, Orientationd, ScaleIntensityRanged, PNG) in one | >= 4 x |
| speed | time against merely decompressing the same files by Python's gzip in as many processes; 8 questions of the perspectives I to IV for an image, or 12, measured ones (V) included | <= 2 x |
| memory | peak while building, 1000 volumes against 10 | <= 1.1 x |
| million | 1,000,000 rows: open; a random row; a shuffled epoch without decoding images; memory of that | < 2 s; < 1 ms; >= 5000 rows/s; < 1 GiB |
| resume | time to go on after kill -9 at 50 %, against the whole build | <= 0.6 x |
| series | opening a DICOM series of 300 slices, against MONAI's ITKReader | |
| reading | volumes and their labels by LoadImaged with our reader, against the reader alone | |
"""  # noqa: E501

from __future__ import annotations

import argparse
import gzip
import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pyarrow as pa
from monai.data import ITKReader
from PIL import Image
from scipy.ndimage import gaussian_filter

from monai_mimo.mimoseg import SourceSpec, build, load_mimoseg
from monai_mimo.mimoseg.builder.case import SCHEMA
from monai_mimo.mimoseg.builder.runners import in_process, on_processes
from monai_mimo.mimoseg.builder.shards import PartialBuild, RowWriter
from monai_mimo.mimoseg.categories import MEASURED
from monai_mimo.phantom.writer import write_series
from monai_mimo.transforms.monai_reader import MedicalImageReader
from monai_mimo.transforms.reading import read_grid

PARTS = ("speed", "memory", "million", "resume", "series", "reading")
WORKERS, VOLUMES = 2, 40
LABELS = {1: "liver", 2: "spleen", 3: "left kidney"}
ROWS, FILES = 1_000_000, 8


def write_volumes(root: Path, count: int, shape: tuple[int, int, int], seed: int = 0) -> SourceSpec:
    """A Decathlon set of CT-like volumes: noise as of a scanner, soft edges, three organs on nearly every slice."""
    rng = np.random.default_rng(seed)
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    pairs = []
    for number in range(count):
        labels = np.zeros(shape, np.uint8)
        for value, centre in zip(LABELS, ((-0.4, 0), (0.4, 0.1), (0.1, -0.5))):
            middle = np.array([*centre, 0]) + rng.normal(0, 0.05, 3)
            inside = sum(((a - m) / r) ** 2 for a, m, r in zip(axes, middle, (0.3, 0.3, 1.2)))
            labels[inside < 1] = value
        body = (axes[0] ** 2 + axes[1] ** 2) < 0.9
        values = gaussian_filter(np.where(body, 40.0 + 20 * labels, -1000.0), (1, 1, 0)) + rng.normal(0, 12, shape)
        for folder, array in (("imagesTr", values.astype(np.int16)), ("labelsTr", labels)):
            nib.save(nib.Nifti1Image(array, np.diag([-0.8, -0.8, 3, 1])), root / folder / f"case_{number:04d}.nii.gz")
        name = f"case_{number:04d}.nii.gz"
        pairs.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    names = {"0": "background", **{str(value): name for value, name in LABELS.items()}}
    about = {"modality": {"0": "CT"}, "labels": names, "training": pairs}
    (root / "dataset.json").write_text(json.dumps(about))
    return SourceSpec("volumes", root)


clock: Callable[[], float] = time.perf_counter


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    begin = clock()
    work()
    return clock() - begin


def plain_loop(spec: SourceSpec, out: Path) -> int:
    """What a user of MONAI would write, in one process; the number of slices."""
    from monai.transforms import Compose, LoadImaged, Orientationd, ScaleIntensityRanged

    keys = ["image", "label"]
    steps = Compose(
        [
            LoadImaged(keys, ensure_channel_first=True),
            Orientationd(keys, axcodes="LPS", labels=None),
            ScaleIntensityRanged("image", -160, 240, 0, 255, clip=True),
        ]
    )
    out.mkdir()
    count = 0
    for image in sorted((spec.path / "imagesTr").iterdir()):
        data = steps({"image": image, "label": spec.path / "labelsTr" / image.name})
        for number in range(data["image"].shape[3]):
            pixels = data["image"][0, :, :, number].numpy().T.astype(np.uint8)
            Image.fromarray(pixels).save(out / f"{image.name}-{number}.png")
            count += 1
    return count


def decompress(file: Path) -> int:
    """Nothing but Python's gzip."""
    with gzip.open(file) as packed:
        return len(packed.read())


def speed(folder: Path) -> list[str]:
    """Rows of the table."""
    shape, count = (384, 384, 60), VOLUMES
    spec = write_volumes(folder / "speed", count, shape)
    files = sorted(spec.path.glob("*Tr/*.nii.gz"))
    small = write_volumes(folder / "warm", 3, (32, 32, 8))
    build([small], folder / "warm-out", workers=WORKERS, progress=False)  # imports are no part of a rate
    run = in_process if WORKERS == 1 else partial(on_processes, workers=WORKERS)
    list(run(decompress, files[:2]))
    slices, shown = [0], [0]

    def ours(name: str, per_volume: int, perspectives: tuple[int, ...] = (1, 2, 3, 4)) -> None:
        options = {"slices_per_volume": per_volume, "perspectives": perspectives, "workers": WORKERS}
        report = build([spec], folder / name, **options, progress=False)
        shown[0] = report["sources"][0]["images"]
        shutil.rmtree(folder / name)

    plain = seconds(lambda: slices.__setitem__(0, plain_loop(spec, folder / "plain")))
    floor = seconds(lambda: list(run(decompress, files)))
    every = seconds(lambda: ours("every", shape[2]))
    every_shown = shown[0]
    measured = seconds(lambda: ours("measured", shape[2], (1, 2, 3, 4, MEASURED)))
    some = seconds(lambda: ours("some", 6, (1, 2, 3, 4, MEASURED)))
    ratio = (every_shown / every) / (slices[0] / plain)
    about = f"{count} volumes of {shape[0]} x {shape[1]} x {shape[2]}"
    against = f"time against decompressing ({floor:.1f} s)"
    return [
        f"slices/s, {about}, all slices: {every_shown / every:.0f} against {slices[0] / plain:.0f} | >= 4 x | {ratio:.1f} x",
        f"{against}, all {every_shown} slices with 8 questions each | <= 2 x | {every / floor:.2f} x",
        f"{against}, the same with 12 questions, of V too (the default) | | {measured / floor:.2f} x",
        f"{against}, 6 slices of each volume (the default) | <= 2 x | {some / floor:.2f} x",
    ]


def memory(folder: Path) -> list[str]:
    """Peak of a process that builds alone; each in a process of its own."""
    peaks, starts = {}, {}
    for count in (10, 1000):
        spec = write_volumes(folder / f"volumes{count}", count, (64, 64, 12))
        command = [sys.executable, __file__, "--build", str(spec.path), str(folder / f"memory{count}")]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        peaks[count], starts[count] = map(int, out)
    mib = ", ".join(
        f"{n} volumes {peak / 2**20:.0f} MiB (imports {starts[n] / 2**20:.0f})" for n, peak in peaks.items()
    )
    return [f"peak memory: {mib} | <= 1.1 x | {peaks[1000] / peaks[10]:.2f} x"]


def write_million(folder: Path) -> None:
    """Rows of a real small build, with small images and ids of their own, until there are enough."""
    spec = write_volumes(folder / "volumes", 4, (256, 256, 24))
    build([spec], folder / "few", slices_per_volume=24, ratio="1:0:0", progress=False)
    table = load_mimoseg(folder / "few").data.table.combine_chunks()
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 24), dtype=np.uint8)).save(buffer, "PNG")
    images = pa.array([{"bytes": buffer.getvalue(), "path": None}] * len(table), SCHEMA.field("image").type)
    table = table.set_column(SCHEMA.get_field_index("image"), SCHEMA.field("image"), images)
    (folder / "million" / "train").mkdir(parents=True)
    rows = 0
    for number in range(FILES):
        writer = RowWriter(folder / "million" / "train" / f"data-{number:05d}.arrow")
        while rows < ROWS * (number + 1) // FILES:
            part = table.slice(0, min(len(table), ROWS * (number + 1) // FILES - rows))
            ids = pa.array([f"{rows + n:016x}-0" for n in range(len(part))])
            part = part.set_column(0, SCHEMA.field("id"), ids).cast(SCHEMA).combine_chunks()
            for batch in part.to_batches():
                writer.add(batch)
            rows += len(part)
        writer.close()


def status(name: str) -> int:
    """A figure of this process in bytes: VmRSS, its peak VmHWM, or RssAnon, what is no page of a file (those of a mapped set
    are the kernel's to take back)."""
    return int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0]) * 1024


def read_million(folder: Path) -> None:
    """Print open, random row, epoch rate and memory, measured in a process that has done nothing else."""
    from datasets import Image as ImageFeature
    from datasets import disable_caching

    disable_caching()
    before = status("RssAnon")
    begin = time.perf_counter()
    rows = load_mimoseg(folder)
    opened = time.perf_counter() - begin
    numbers = random.Random(0).sample(range(len(rows)), 2000)
    times = [seconds(lambda n=n: rows[n]) for n in numbers]
    peak = 0
    begin, busy = time.perf_counter(), time.process_time()
    seen = 0
    raw = rows.cast_column("image", ImageFeature(decode=False)).shuffle(seed=0)
    for batch in raw.iter(batch_size=100):
        seen += len(batch["id"])
        if seen % 10_000 == 0:
            peak = max(peak, status("RssAnon"))
    rate, own_rate = seen / (time.perf_counter() - begin), seen / (time.process_time() - busy)
    assert seen == len(rows) == ROWS
    begin = time.perf_counter()
    kept = len(load_mimoseg(folder, perspective=2))
    filtered = time.perf_counter() - begin
    print(opened, statistics.median(times), rate, own_rate, peak - before, peak, kept, filtered)


def million(folder: Path) -> list[str]:
    """Rows of the table."""
    write_million(folder)
    command = [sys.executable, __file__, "--read", str(folder / "million")]
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    opened, row, rate, own_rate, more, peak, kept, filtered = map(float, out)
    size = sum(f.stat().st_size for f in (folder / "million" / "train").iterdir()) / 1e9
    return [
        f"1,000,000 rows ({size:.1f} GB): open | < 2 s | {opened:.2f} s",
        f"open one perspective ({kept:.0f} rows) | | {filtered:.2f} s",
        f"a random row, image decoded (median) | < 1 ms | {row * 1000:.2f} ms",
        f"shuffled epoch without decoding images | >= 5000 rows/s | {rate:.0f} rows/s "
        f"({own_rate:.0f} for each second of processor time)",
        f"memory to iterate it, without pages of the mapped files ({more / 2**20:.0f} MiB more than before) "
        f"| < 1 GiB | {peak / 2**20:.0f} MiB",
    ]


def resume(folder: Path) -> list[str]:
    """Build whole, then killed at half of the cases and gone on with."""
    spec = write_volumes(folder / "resume", 40, (256, 256, 40))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["monai_mimo.mimoseg.build"])

    def start(name: str) -> multiprocessing.process.BaseProcess:
        arguments = {"slices_per_volume": 20, "progress": False}
        process = context.Process(target=build, args=([spec], folder / name), kwargs=arguments)
        process.start()
        return process

    start("warm").join()
    whole = seconds(lambda: start("whole").join())
    process = start("half")
    while len(list(PartialBuild(folder / "half").path.glob("cases/*/*.json"))) < 20:
        time.sleep(0.002)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    rest = seconds(lambda: start("half").join())
    for file in (folder / "whole").rglob("*.*"):
        assert file.read_bytes() == (folder / "half" / file.relative_to(folder / "whole")).read_bytes()
    return [f"going on after kill -9 at 50 %: {rest:.1f} s against {whole:.1f} s | <= 0.6 x | {rest / whole:.2f} x"]


def series(folder: Path) -> list[str]:
    """Opening a DICOM series of 300 slices, by our reader and by MONAI's, in turn."""
    values = np.random.default_rng(0).integers(-1000, 2000, (256, 256, 300)).astype(np.int16)
    write_series(folder / "series", values, np.diag([0.8, 0.8, 1.5, 1.0]), "P", 0)
    reader = ITKReader(affine_lps_to_ras=True)

    def by_itk() -> None:
        reader.get_data(reader.read(str(folder / "series")))

    def by_headers() -> None:
        read_grid(folder / "series")

    by_itk()
    times = [(seconds(by_itk), seconds(by_headers)) for _ in range(5)]
    itk, ours = (statistics.median(column) for column in zip(*times))
    ratio = statistics.median(b / a for a, b in times)
    return [f"opening a DICOM series of 300 slices: {ours:.2f} s against {itk:.2f} s by ITKReader | | {ratio:.2f} x"]


def reading(folder: Path) -> list[str]:
    """Volumes with their labels, by `LoadImaged` with our reader and by the reader alone, in turn."""
    from monai.transforms import LoadImaged

    spec = write_volumes(folder / "reading", 6, (384, 384, 60))
    images = sorted((spec.path / "imagesTr").iterdir())
    pairs = [{"image": image, "label": spec.path / "labelsTr" / image.name} for image in images]

    def by_monai(**options: Any) -> float:
        load = LoadImaged(["image", "label"], reader=MedicalImageReader, **options)
        return seconds(lambda: [load(dict(pair)) for pair in pairs])

    def alone() -> float:
        return seconds(lambda: [read_grid(file) for pair in pairs for file in pair.values()])

    times = np.array([(alone(), by_monai(dtype=None), by_monai()) for _ in range(5)])
    reader, same, floats = np.median(times, axis=0)
    about = f"{len(pairs)} volumes with labels by LoadImaged with our reader"
    return [
        f"{about}, {what}: {took:.2f} s against {reader:.2f} s by the reader alone | | {ratio:.2f} x"
        for what, took, ratio in (
            ("in the file's types", same, np.median(times[:, 1] / times[:, 0])),
            ("in float32, its default", floats, np.median(times[:, 2] / times[:, 0])),
        )
    ]


def main() -> None:
    global clock, WORKERS, VOLUMES
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)")
    parser.add_argument("--busy", action="store_true", help="in one process, by the time that it computes")
    parser.add_argument("--volumes", type=int, default=VOLUMES, help="of the part speed")
    parser.add_argument("--build", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    VOLUMES = options.volumes
    if options.busy:
        clock, WORKERS = time.process_time, 1
    if options.build:
        at_start = status("VmRSS")
        spec = SourceSpec("volumes", options.build[0])
        build([spec], options.build[1], slices_per_volume=3, questions_per_image=4, progress=False)
        print(status("VmHWM"), at_start)
    elif options.read:
        read_million(options.read)
    else:
        print("| what | target | measured |\n|---|---|---|")
        for part in options.parts or PARTS:
            with tempfile.TemporaryDirectory() as folder:
                for line in globals()[part](Path(folder)):
                    print(f"| {line} |", flush=True)


if __name__ == "__main__":
    main()
