"""Who does the work makes no difference to the result, and nobody is left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from monai_mimo.errors import InputError
from monai_mimo.mimoseg import SourceSpec, build
from monai_mimo.mimoseg.builder import runners
from monai_mimo.mimoseg.builder.runners import IN_FLIGHT, WorkerCrash, in_process, on_processes, on_ray

from ..small_source import contents, small_source


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> SourceSpec:
    return SourceSpec("small", small_source(tmp_path_factory.mktemp("source") / "small"))


@pytest.fixture(scope="module")
def alone(source: SourceSpec, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("alone") / "out"
    build([source], out, progress=False)
    return contents(out)


def double(number: int) -> int:
    return 2 * number


def die_at_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.01)
    return 2 * number


def test_processes_give_the_same_bytes(source: SourceSpec, alone: dict[str, bytes], tmp_path: Path) -> None:
    build([source], tmp_path / "out", workers=3, progress=False)
    assert contents(tmp_path / "out") == alone


def test_each_task_has_one_result() -> None:
    assert list(in_process(double, range(5))) == [(n, 2 * n) for n in range(5)]
    assert sorted(on_processes(double, range(50), workers=2)) == [(n, 2 * n) for n in range(50)]


def test_tasks_are_taken_as_they_are_needed() -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = on_processes(double, tasks(), workers=2)
    next(results)
    assert len(taken) <= 2 * 2 * IN_FLIGHT
    results.close()


def test_a_process_that_dies_takes_its_task_with_it_and_no_other() -> None:
    results = dict(on_processes(die_at_three, range(8), workers=2))
    assert isinstance(results.pop(3), WorkerCrash)
    assert results == {n: 2 * n for n in range(8) if n != 3}


def sleep_long(folder: Path) -> None:
    (folder / str(os.getpid())).touch()
    time.sleep(300)


def parent(folder: Path) -> None:
    list(on_processes(sleep_long, [folder, folder], workers=2))


def test_processes_end_with_their_parent(tmp_path: Path) -> None:
    """kill -9 of the parent, which can no longer tell them."""
    process = multiprocessing.get_context("forkserver").Process(target=parent, args=(tmp_path,))
    process.start()
    while len(list(tmp_path.iterdir())) < 2:
        time.sleep(0.05)
        assert process.is_alive()
    workers = [psutil.Process(int(file.name)) for file in tmp_path.iterdir()]
    assert all(worker.is_running() for worker in workers)
    process.kill()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Ray cluster of two nodes on this machine, one processor each."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
    cluster.wait_for_nodes()
    yield cluster.address
    ray.shutdown()
    cluster.shutdown()


def node_or_death(number: int) -> str:
    import ray

    time.sleep(0.5)
    die_at_three(number)
    return ray.get_runtime_context().get_node_id()


def test_a_ray_cluster_gives_the_same_bytes(source: SourceSpec, alone: dict, cluster: str, tmp_path: Path) -> None:
    build([source], tmp_path / "out", ray=cluster, progress=False)
    assert contents(tmp_path / "out") == alone


def test_both_nodes_work_and_a_worker_that_dies_is_told(cluster: str) -> None:
    from ray import cloudpickle

    modules = sys.modules[__name__], runners
    for module in modules:  # sent whole, so that the workers need not import the package, which takes them long
        cloudpickle.register_pickle_by_value(module)
    try:
        results = dict(on_ray(node_or_death, range(8), cluster))
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)
    assert isinstance(results.pop(3), WorkerCrash)
    assert set(results) == {n for n in range(8) if n != 3}
    assert len(set(results.values())) == 2


def test_no_cluster_at_that_address(source: SourceSpec, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with pytest.raises(InputError, match="a running Ray cluster"):
        build([source], tmp_path / "out", ray="nonsense", progress=False)
    assert not list(tmp_path.iterdir())
