"""Who works on the cases: this process, a pool of processes, or a Ray cluster. All call the same function for each task and
yield (task, result) as results come, in any order. Tasks are taken as they are needed, a few for each worker."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, TypeVar

from ...errors import InputError

T = TypeVar("T")
R = TypeVar("R")
IN_FLIGHT = 3  # tasks for each worker that are sent ahead
PRELOAD = "monai_mimo.mimoseg.builder.case"  # imported once, before the workers are forked


class WorkerCrash:
    """The result of a task whose process ended without an answer, twice."""


def in_process(function: Callable[[T], R], tasks: Iterable[T]) -> Generator[tuple[T, R], None, None]:
    """One task after the other."""
    for task in tasks:
        yield task, function(task)


def on_processes(
    function: Callable[[T], R], tasks: Iterable[T], workers: int
) -> Generator[tuple[T, R | WorkerCrash], None, None]:
    """In `workers` processes of this machine. When one dies, the tasks that were under way get a process each."""
    tasks = iter(tasks)
    suspects: list[T] = []
    while True:
        in_flight: dict[Future[R], T] = {}
        pool = make_pool(workers)
        try:
            while True:
                for task in islice(tasks, workers * IN_FLIGHT - len(in_flight)):
                    in_flight[pool.submit(function, task)] = task
                if not in_flight:
                    return
                for future in wait(in_flight, return_when=FIRST_COMPLETED).done:
                    result = future.result()
                    yield in_flight.pop(future), result
        except BrokenProcessPool:
            suspects = list(in_flight.values())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        for task in suspects:
            with make_pool(1) as alone:
                try:
                    yield task, alone.submit(function, task).result()
                except BrokenProcessPool:
                    yield task, WorkerCrash()


def make_pool(workers: int) -> ProcessPoolExecutor:
    """Processes that end with this one, however it ends."""
    context = multiprocessing.get_context("forkserver")  # a plain fork would copy the locks of our threads
    context.set_forkserver_preload([PRELOAD])
    return ProcessPoolExecutor(workers, context, initializer=start_worker)


def start_worker() -> None:
    """Leave Ctrl-C to the parent, and end when it is gone; a pool's worker would wait for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def exit_with_parent() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=exit_with_parent, daemon=True).start()


def on_ray(
    function: Callable[[T], R], tasks: Iterable[T], address: str
) -> Generator[tuple[T, R | WorkerCrash], None, None]:
    """On the machines of a Ray cluster, which see all files under the same paths and have the same packages.

    Args:
        address: of the cluster, as `ray.init` takes it: HOST:PORT, ray://HOST:PORT, or auto.

    Raises:
        InputError: Ray is not installed, nobody answers there, or its machines have other packages.
    """
    try:
        import ray
        from ray.exceptions import RaySystemError, RayTaskError, WorkerCrashedError
    except ImportError as error:
        raise InputError("--ray", "no Ray on this machine", "pip install monai-mimo[ray]") from error
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # each kind of address fails in its own way
        raise InputError("--ray", f"{address} ({type(error).__name__}: {error})", "a running Ray cluster") from error
    try:
        remote: Any = ray.remote(max_retries=1)(in_folder)
        limit = max(1, int(ray.cluster_resources().get("CPU", 1))) * IN_FLIGHT
        tasks = iter(tasks)
        in_flight: dict[Any, T] = {}
        while True:
            for task in islice(tasks, limit - len(in_flight)):
                in_flight[remote.remote(os.getcwd(), function, task)] = task
            if not in_flight:
                return
            for reference in ray.wait(list(in_flight))[0]:
                task = in_flight.pop(reference)
                try:
                    yield task, ray.get(reference)
                except WorkerCrashedError:
                    yield task, WorkerCrash()
                except RayTaskError as error:
                    raise (error.cause or error) from None
                except RaySystemError as error:  # what was sent cannot be understood there
                    found = str(error).strip().splitlines()[-1]
                    raise InputError("--ray", found, "machines with the same packages") from error
    finally:
        ray.shutdown()


def in_folder(folder: str, function: Callable[[T], R], task: T) -> R:
    """Call a function where relative paths mean what they meant to the sender."""
    os.chdir(folder)
    return function(task)
