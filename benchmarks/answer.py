"""How long a user waits for an answer: from the command line, in a process that has the weights, and in the viewer's app.

    python benchmarks/answer.py startup [--rounds 5] [--busy]
    python benchmarks/answer.py weights --dataset runs/real/set [--weights DIR] [--repeats 15] [--busy]
    python benchmarks/answer.py app [--weights DIR] [--series DIR] [--clicks N] [--slices N]

- startup: from the command `mimo ask` to its answer, beside `import torch` alone. Each round starts both processes anew, one
  after the other, after one round that is not counted; the image is a drawn radiograph, the weights are `lite`.
- weights: on one thread, encoding an image and a question about it that is answered with 24 tokens and one mask; loading, and
  peak memory, of a process of its own, which has the imports already.
- app: what the caches of the MONAI Label app save, how it bears several users, how much memory it takes. Two servers are started
  on loopback, one with caches and one without any, and are asked over HTTP in turn, so that both meet the same machine. Without
  --series the images are a phantom's; memory is measured on volumes of noise in any case.

Times are by the clock, or with --busy what the processor computes, for a machine that does other things too.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import requests
import torch
from PIL import Image
from tqdm import tqdm

from monai_mimo.data.dataset import rows_by_image
from monai_mimo.errors import DataError
from monai_mimo.inference import MimoPredictor
from monai_mimo.mimoseg import load_mimoseg
from monai_mimo.models.default_weights import default_weights_dir
from monai_mimo.models.weights import fingerprint
from monai_mimo.phantom.draw_pictures import draw_xray
from monai_mimo.phantom.writer import write_studies

TOKENS = 24
APP = Path(__file__).parents[1] / "monailabel_app"
CACHE_MB = 64  # so small that 500 slices fill it several times
NO_CACHE = {"feature_cache_mb": "0", "image_cache_mb": "0", "prefetch": "0"}
Question = tuple[np.ndarray, str]
Clock = Callable[[], float]


def seconds_of(command: list[str], busy: bool) -> float:
    """How long a command runs, or computes."""
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    computed = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return computed if busy else time.perf_counter() - begin


def measure_startup(options: argparse.Namespace) -> None:
    """Medians of the command and of `import torch`, and the ratio of the medians."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "radiograph.png"
        Image.fromarray(draw_xray(np.random.default_rng(7))[0]).save(image)
        ask = ["-m", "monai_mimo.cli", "ask", str(image), "--weights", "lite", "--question", "Where is the lung?"]
        commands = {"import torch": ["-c", "import torch"], "mimo ask": ask}
        found: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(options.rounds + 1):
            for name, command in commands.items():
                took = seconds_of([sys.executable, *command], options.busy)
                if number:
                    found[name].append(took)
    medians = {name: statistics.median(values) for name, values in found.items()}
    for name, value in medians.items():
        print(f"{name:14}{value:8.2f} s")
    print(f"{'ratio':14}{medians['mimo ask'] / medians['import torch']:8.2f}")


def long_question(weights: Path, dataset: str) -> Question:
    """An image, and a question of perspective III whose answer by the weights has at least 24 tokens, and one mask among them.

    Raises:
        DataError: there is none in the first images.
    """
    predictor, rows = MimoPredictor.from_pretrained(weights), load_mimoseg(dataset, "validation")
    found: list[torch.Tensor] = []
    answer = predictor.model.answer

    def watched(*arguments: Any, **options: Any) -> Any:
        found.append((out := answer(*arguments, **options)).ids[0])
        return out

    predictor.model.answer = watched  # type: ignore[method-assign]
    for numbers in rows_by_image(rows)[:40]:
        row = rows[numbers[0]]
        pixels = np.asarray(row["image"].convert("RGB"))
        predictor.set_image(pixels)
        for number in numbers:
            if rows[number]["perspective"] == 3:
                said = predictor.ask(rows[number]["question"], max_tokens=TOKENS)
                if len(found[-1]) == TOKENS and len(said.entities) == 1:
                    return pixels, rows[number]["question"]
    raise DataError(
        dataset, "no answer of that length with one mask", "weights that answer questions of perspective III"
    )


def apart(function: Callable, *arguments: Any) -> Any:
    """What a function gives in a process of its own, which has the imports already, and nothing else."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        return pool.submit(function, *arguments).result()


def start(weights: Path, question: Question, clock: Clock) -> tuple[float, float]:
    """Seconds until weights are loaded, an image is encoded and the first answer is there; peak memory in MiB."""
    begin = clock()
    predictor = MimoPredictor.from_pretrained(weights)
    predictor.set_image(question[0])
    predictor.ask(question[1], max_tokens=TOKENS)
    return clock() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def times(weights: Path, question: Question, repeats: int, clock: Clock) -> dict[str, float]:
    """Median milliseconds: "encode" an image, "first token" and whole "answer" of a question about it."""
    pixels, text = question
    predictor = MimoPredictor.from_pretrained(weights)
    taken: dict[str, list[float]] = {"encode": [], "first token": [], "answer": []}
    for number in tqdm(range(repeats + 2), desc="asked"):
        moments: list[float] = []
        begin = clock()
        predictor.set_image(pixels)
        encoded = clock()
        predictor.ask(text, max_tokens=TOKENS, on_text=lambda _, to=moments: to.append(clock()))
        end = clock()
        if number > 1:  # the first ones warm up
            for key, value in zip(taken, (encoded - begin, moments[0] - encoded, end - encoded)):
                taken[key].append(1000 * value)
    return {key: statistics.median(values) for key, values in taken.items()}


def measure_weights(options: argparse.Namespace) -> None:
    """The table of one thread."""
    torch.set_num_threads(1)
    weights = options.weights or default_weights_dir()
    question = apart(long_question, weights, options.dataset)
    begun, memory = apart(start, weights, question, time.process_time if options.busy else time.perf_counter)
    took = times(weights, question, options.repeats, time.thread_time if options.busy else time.perf_counter)
    both = took["encode"] + took["answer"]
    print(f"{weights.name}@{fingerprint(weights)}, question: {question[1]}")
    print("| what | measured |\n|---|---|")
    print(f"| an image, encoded | {took['encode']:.1f} ms |")
    print(f"| first token of a question about an encoded image | {took['first token']:.1f} ms |")
    print(f"| its answer of {TOKENS} tokens with one mask | {took['answer']:.1f} ms |")
    print(f"| image and answer, against the answer alone | {both / took['answer']:.2f} x |")
    print(f"| load weights, encode an image, answer (imports not counted) | {begun:.2f} s |")
    print(f"| peak memory of that process, with all imports | {memory:.0f} MiB |")


class Server:
    """A server of its own process; `pid`, and clicks over HTTP."""

    def __init__(self, url: str, pid: int) -> None:
        self.url, self.pid = url, pid

    def infer(self, task: str, image: str, session: requests.Session | None = None, **params: Any) -> tuple[float, Any]:
        """(seconds until the label map was there, JSON of the reply)."""
        begin = time.perf_counter()
        reply = (session or requests).post(
            f"{self.url}/infer/{task}",
            params={"image": image, "output": "json"},
            data={"params": json.dumps(params)},
            timeout=600,
        )
        reply.raise_for_status()
        return time.perf_counter() - begin, reply.json()

    def memory(self) -> float:
        """MB of the process in memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def server(studies: Path, weights: str | None, log: Path, **conf: str) -> Iterator[Server]:
    """Start a server, and stop it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {**({"weights": weights} if weights else {}), **conf, "audit": str(log.with_suffix(".jsonl"))}
    command = [sys.executable, "-m", "monailabel.main", "start_server", "--app", str(APP), "--studies", str(studies)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    command += [word for name, value in options.items() for word in ("--conf", name, value)]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with open(log, "w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(600):
                if process.poll() is not None:
                    raise SystemExit(f"the server did not start:\n{log.read_text()[-2000:]}")
                try:
                    if requests.get(f"{url}/info/", timeout=5).ok:
                        break
                except requests.RequestException:
                    time.sleep(0.5)
            yield Server(url, process.pid)
        finally:
            process.terminate()
            process.wait(30)


def middle(shape: list[int]) -> list[int]:
    return [n // 2 for n in shape]


def second_click(on: Server, off: Server, image: str, shape: list[int], clicks: int) -> dict[str, dict[str, float]]:
    """Clicks here and there on one slice, with and without caches in turn: median seconds, whole and in parts, of both.

    Raises:
        AssertionError: the two do not answer the same.
    """
    rng = np.random.default_rng(0)
    i, j, k = middle(shape)
    on.infer("mimo_click", image, foreground=[[i, j, k]])
    off.infer("mimo_click", image, foreground=[[i, j, k]])
    taken: dict[str, list[dict[str, float]]] = {"with caches": [], "without": []}
    for _ in range(clicks):
        place = [int(i + rng.integers(-i // 3, i // 3)), int(j + rng.integers(-j // 3, j // 3)), k]
        replies = []
        for server_, times in zip((on, off), taken.values()):
            seconds, reply = server_.infer("mimo_click", image, foreground=[place])
            parts = reply.pop("latencies")
            times.append({"whole": seconds, "reading": parts["pre"], "answering": parts["infer"]})
            replies.append(reply)
        assert replies[0] == replies[1]
    return {
        name: {part: statistics.median(t[part] for t in times) for part in times[0]} for name, times in taken.items()
    }


def next_slices(on: Server, image: str, shape: list[int]) -> list[float]:
    """A user who goes up slice by slice: the next one was prepared meanwhile."""
    times = []
    for k in range(shape[2] // 4, shape[2] * 3 // 4):
        times.append(on.infer("mimo_click", image, foreground=[[shape[0] // 2, shape[1] // 2, k]])[0])
        time.sleep(0.3)
    return times


def four_clients(on: Server, image: str, shape: list[int], clicks: int) -> tuple[list[float], float]:
    """Each clicks as fast as answers come, on slices of its own; (times of all, seconds)."""

    def work(client: int) -> list[float]:
        rng = np.random.default_rng(client)
        with requests.Session() as session:
            return [
                on.infer(
                    "mimo_click",
                    image,
                    session,
                    foreground=[[int(rng.integers(n // 4, 3 * n // 4)) for n in shape]],
                )[0]
                for _ in range(clicks)
            ]

    begin = time.perf_counter()
    with ThreadPoolExecutor(4) as pool:
        times = [t for part in pool.map(work, range(4)) for t in part]
    return times, time.perf_counter() - begin


def volume(on: Server, off: Server, image: str, start: list[int]) -> tuple[float, int, float]:
    """(seconds of `mimo_volume`, slices it found, seconds of clicking on each of those without caches)."""
    seconds, said = on.infer("mimo_volume", image, foreground=[start])
    if not said["entities"]:
        return seconds, 0, 0.0
    first, last = said["entities"][0]["slices"]
    by_hand = sum(
        off.infer("mimo_click", image, foreground=[[start[0], start[1], k]])[0] for k in range(first, last + 1)
    )
    return seconds, last - first + 1, by_hand


def memory(on: Server, images: list[str], slices: int, count: int) -> list[float]:
    """MB after each of `count` clicks, each on another slice."""
    used = []
    for number in range(count):
        image, k = images[number // slices % len(images)], number % slices
        on.infer("mimo_click", image, foreground=[[32, 32, k]])
        used.append(on.memory())
    return used


def measure_app(options: argparse.Namespace) -> None:
    """The app under a clicking user, and under four."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        studies = write_studies(root / "studies", patients=2)
        image = "phantom-ct-002"
        if options.series:
            image = options.series.name
            shutil.copytree(options.series, studies / image)
        rng = np.random.default_rng(0)
        for n in range(5):
            noise = rng.integers(-1000, 1000, (64, 64, 100)).astype(np.int16)
            nib.save(nib.Nifti1Image(noise, np.diag([1, 1, 3, 1])), studies / f"noise{n}.nii.gz")
        with (
            server(studies, options.weights, root / "on.log", feature_cache_mb=str(CACHE_MB)) as on,
            server(studies, options.weights, root / "off.log", **NO_CACHE) as off,
        ):
            shape = on.infer("mimo_ask", image, question="What is here?")[1]["image"]["shape"]
            print(f"{image} {shape}, {on.infer('mimo_ask', image, question='What?')[1]['model']}")
            clicked = second_click(on, off, image, shape, options.clicks)
            cached = clicked["with caches"]["whole"]
            for name, parts in clicked.items():
                print(
                    f"second click, {name:12}        {parts['whole'] * 1000:8.0f} ms   {parts['whole'] / cached:5.1f} x"
                    f"   reading {parts['reading'] * 1000:.0f} ms, encoding and answering {parts['answering'] * 1000:.0f} ms"
                )
            print(
                f"click on the next slice, median   {statistics.median(next_slices(on, image, shape)) * 1000:8.0f} ms"
            )
            times, seconds = four_clients(on, image, shape, options.clicks)
            p50, p95 = np.percentile(times, [50, 95])
            print(
                f"4 clients at once                 {len(times) / seconds:8.1f} clicks/s, p50 {p50 * 1000:.0f} ms, "
                f"p95 {p95 * 1000:.0f} ms, no error in {len(times)}"
            )
            start = [int(v) for v in options.start.split(",")] if options.start else middle(shape)
            carried, slices, by_hand = volume(on, off, image, start)
            ratio = f"{by_hand / carried:5.1f} x" if carried and slices else ""
            print(f"mimo_volume, {slices:3d} of {shape[2]} slices     {carried * 1000:8.0f} ms")
            print(f"a click on each, without caches   {by_hand * 1000:8.0f} ms   {ratio}")
            if options.slices:
                used = memory(on, [f"noise{n}" for n in range(5)], 100, options.slices)
                warm = used[len(used) // 3 :]
                print(
                    f"memory over {len(used)} slices            {min(warm):8.0f} to {max(warm):.0f} MB after a third of them "
                    f"({100 * (max(warm) / min(warm) - 1):.1f} %), {used[0]:.0f} MB before"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    startup = parts.add_parser("startup")
    startup.add_argument("--rounds", type=int, default=5)
    weights = parts.add_parser("weights")
    weights.add_argument("--dataset", required=True)
    weights.add_argument("--weights", type=Path, help="default: those of `mimo ask`")
    weights.add_argument("--repeats", type=int, default=15)
    for part, run in ((startup, measure_startup), (weights, measure_weights)):
        part.add_argument("--busy", action="store_true", help="times that the processor computes, not by the clock")
        part.set_defaults(run=run)
    app = parts.add_parser("app")
    app.add_argument("--weights")
    app.add_argument("--series", type=Path, help="a folder with a DICOM series")
    app.add_argument("--start", help="i,j,k where mimo_volume starts; default the middle")
    app.add_argument("--clicks", type=int, default=20)
    app.add_argument("--slices", type=int, default=500)
    app.set_defaults(run=measure_app)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
