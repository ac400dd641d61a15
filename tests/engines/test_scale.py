"""Training over processes and over interruptions is the training of one process that nobody interrupts.

Runs are those of the bundle's configs with `nano`, on the CPU. Each is forked from a server that has imported everything once.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
from multiprocessing import connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from .small_set import write_set

CONFIGS = Path(__file__).parents[2] / "bundles" / "mimo" / "configs"
OPTIONS: dict[str, Any] = {
    "preset": "nano",
    "epochs": 2,
    "steps_per_epoch": 3,
    "images_per_batch": 2,
    "questions_per_image": 2,
    "global_batch": 6,  # 14 images: micro-batches are 3, 3 and 1 in the steps of a pass, never as many for two processes
    "balanced": False,
    "language_steps": 3,
    "validation_images": 4,
    "checkpoint_every": 2,
    "loss_weights#alignment": 0.5,
    "loss_weights#presence": 1.0,
}
PARTS = (
    "image_encoder", "neck", "prompt_encoder", "input_aligner", "presence", "language_model", "phrase_of_seg", "mask_decoder"
)  # fmt: skip

forkserver = multiprocessing.get_context("forkserver")
forkserver.set_forkserver_preload(["monai_mimo.engines", "monai.bundle", "tests.engines.test_scale"])


def work(rank: int, processes: int, port: int, configs: list[str], options: dict[str, Any], stop: tuple | None) -> None:
    """One process of a run, as torchrun would start it.

    Args:
        stop: (event, step, signal): it sends itself the signal when the event of MONAI's or Ignite's has come in that step;
            SIGTERM only to the last process.
    """
    from ignite.engine import Events
    from monai.bundle import ConfigWorkflow
    from monai.engines import IterationEvents

    from monai_mimo.engines import MimoTrainer

    torch.set_num_threads(1)
    out = Path(options["output_dir"])
    out.mkdir(exist_ok=True)
    os.dup2(os.open(out / f"log-{rank}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 2)
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    if processes > 1:
        os.environ.update({name: str(value) for name, value in names.items()})
    if stop is not None:
        name, step, number = stop
        event = IterationEvents[name] if name in IterationEvents.__members__ else Events[name]
        original = MimoTrainer.run

        def run(trainer: MimoTrainer) -> None:
            def strike(engine: MimoTrainer) -> None:
                if engine.state.iteration == step and (number != signal.SIGTERM or rank == processes - 1):
                    os.kill(os.getpid(), number)

            trainer.add_event_handler(event, strike)
            original(trainer)

        MimoTrainer.run = run  # type: ignore[method-assign]
    files = [str(CONFIGS / name) for name in configs]
    ids = {"init_id": "initialize", "run_id": "training", "final_id": "finalize", "workflow_type": "train"}
    logging = str(CONFIGS / "logging.conf")
    workflow = ConfigWorkflow(files, logging_file=logging, bundle_root=str(CONFIGS.parent), **ids, **options)
    workflow.initialize()
    workflow.run()
    workflow.finalize()


def train(
    out: Path, dataset: Path, processes: int = 1, stop: tuple | None = None, configs: tuple = (), **options: Any
) -> list[int | None]:
    """Run it; gives the exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = ["train.yaml", *configs, *(["multi_gpu_train.yaml"] if processes > 1 else [])]
    start_from = {str(dataset.parent / "before" / "weights"): PARTS}
    options = {**OPTIONS, "dataset_dir": str(dataset), "output_dir": str(out), "start_from": start_from, **options}
    started = [
        forkserver.Process(target=work, args=(rank, processes, port, names, options, stop)) for rank in range(processes)
    ]
    for process in started:
        process.start()
    waiting = {process.sentinel: process for process in started}
    while waiting:
        done = connection.wait(list(waiting), timeout=240)
        for sentinel in done:
            waiting.pop(sentinel).join()  # type: ignore[call-overload]
        if not done or any(process.exitcode for process in started):  # as torchrun does: one takes the others with it
            for process in waiting.values():
                process.kill()
    return [process.exitcode for process in started]


def curves(out: Path) -> dict[str, np.ndarray]:
    return {name: np.array(values) for name, values in json.loads((out / "history.json").read_text()).items()}


def last(out: Path) -> dict[str, Any]:
    """The checkpoint of the last step."""
    return torch.load(sorted((out / "checkpoints").glob("training-*"))[-1], weights_only=True)


def log(out: Path) -> str:
    """What the first process said on stderr."""
    return (out / "log-0").read_text()


def assert_same_run(out: Path, other: Path) -> None:
    """Bit for bit: every loss of every step, every weight, what the optimizer remembers, and the best weights."""
    a, b = curves(out), curves(other)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    first, second = last(out), last(other)
    assert first["step"] == second["step"] == 6
    for part in ("model", "optimizer"):
        leaves = [torch.utils._pytree.tree_leaves(state["parts"][part]) for state in (first, second)]
        assert all(torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in zip(*leaves, strict=True))
    assert first["parts"]["scheduler"] == second["parts"]["scheduler"]
    assert first["parts"]["best"] == second["parts"]["best"]
    assert (out / "weights/model.safetensors").read_bytes() == (other / "weights/model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a set. Beside it are weights that answer some of its questions, so that there is something to measure; all
    runs start from them."""
    folder = write_set(tmp_path_factory.mktemp("set") / "set")
    longer = {"epochs": 1, "steps_per_epoch": 75, "language_steps": 60, "global_batch": 8, "images_per_batch": 8}
    assert train(folder.parent / "before", folder, **longer, start_from={}) == [0]
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, dataset: Path) -> dict[int, Path]:
    """Runs of one and of two processes that nobody interrupted."""
    runs = {}
    for processes in (1, 2):
        runs[processes] = tmp_path_factory.mktemp("whole") / str(processes)
        assert train(runs[processes], dataset, processes) == [0] * processes
    return runs


def test_two_processes_train_what_one_trains(whole: dict[int, Path]) -> None:
    one, two = curves(whole[1]), curves(whole[2])
    assert one.keys() == two.keys() >= {"text loss", "bce loss", "alignment loss", "presence loss", "validation f1"}
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-4, atol=1e-6)
    assert np.array_equal(one["validation f1"], two["validation f1"])
    assert 0 < one["validation f1"][0, 1] < 1


@pytest.mark.parametrize(
    ("processes", "event", "step"),
    [
        (1, "BACKWARD_COMPLETED", 5),
        (1, "ITERATION_COMPLETED", 3),  # an epoch has ended and is not validated
        (2, "LOSS_COMPLETED", 2),  # there is a checkpoint of the texts only
    ],
)
def test_a_killed_run_goes_on_to_the_same_end(
    whole: dict[int, Path], dataset: Path, tmp_path: Path, processes: int, event: str, step: int
) -> None:
    assert 0 not in train(tmp_path, dataset, processes, (event, step, signal.SIGKILL))
    assert train(tmp_path, dataset, processes) == [0] * processes
    assert_same_run(tmp_path, whole[processes])


def test_a_run_that_has_ended_is_left_as_it_is(whole: dict[int, Path], dataset: Path) -> None:
    assert (whole[1] / "checkpoints" / "ended").exists()
    before = last(whole[1])
    assert train(whole[1], dataset) == [0]
    assert "training ended at step 6 before" in log(whole[1])
    assert last(whole[1])["step"] == before["step"]


def test_sigterm_saves_and_ends_well(whole: dict[int, Path], dataset: Path, tmp_path: Path) -> None:
    """It comes to one process, and all stop after the same step, which needs no checkpoint of its own."""
    assert train(tmp_path, dataset, 2, ("LOSS_COMPLETED", 1, signal.SIGTERM)) == [0, 0]
    assert "stopped by SIGTERM after step 1; the same command resumes from" in log(tmp_path)
    assert last(tmp_path)["step"] == 1
    assert train(tmp_path, dataset, 2) == [0, 0]
    assert "training resumes after step 1" in log(tmp_path)
    assert_same_run(tmp_path, whole[2])


def test_a_sharded_model_trains_the_same(whole: dict[int, Path], dataset: Path, tmp_path: Path) -> None:
    """FSDP, killed and gone on with, against one process."""
    stop = ("BACKWARD_COMPLETED", 5, signal.SIGKILL)
    assert 0 not in train(tmp_path, dataset, 2, stop, strategy="fsdp")
    assert train(tmp_path, dataset, 2, strategy="fsdp") == [0, 0]
    one, sharded = curves(whole[1]), curves(tmp_path)
    for name in one:
        np.testing.assert_allclose(sharded[name], one[name], rtol=1e-4, atol=1e-6)
    weights = load_file(tmp_path / "weights/model.safetensors")
    for name, expected in load_file(whole[1] / "weights/model.safetensors").items():
        torch.testing.assert_close(weights[name], expected, rtol=1e-3, atol=1e-4)


def test_processes_share_a_feature_cache(dataset: Path, tmp_path: Path) -> None:
    """Two fill it, each its part; one more uses it as it is, and trains the same."""
    encoder = {"name": "convolutions", "frozen": True}
    store = tmp_path / "features"
    options = {"preset_changes": {"image_encoder": encoder}, "augment_images": False, "feature_cache": str(store)}
    assert train(tmp_path / "two", dataset, 2, epochs=1, **options) == [0, 0]
    files = {file: file.stat().st_mtime_ns for file in store.rglob("*.safetensors")}
    assert len(files) == 2
    assert train(tmp_path / "one", dataset, 1, epochs=1, **options) == [0]
    assert {file: file.stat().st_mtime_ns for file in store.rglob("*.safetensors")} == files
    two, one = curves(tmp_path / "two"), curves(tmp_path / "one")
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-4, atol=1e-6)
