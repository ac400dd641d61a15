"""Exact resume: checkpoints that hold all that a run depends on, and the stop on SIGTERM.

What each step asks is known from its number (`data.order`), so a step's number is all that is kept of the data.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map_only

from ..errors import OutputError
from ..files import atomic_file, file_digest


class TrainedParts:
    """The parameters of a model that are trained, and its buffers. What is frozen comes from where it came from before."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def _tensors(self) -> dict[str, Tensor]:
        parameters = dict(self.network.named_parameters())
        trained = {name: p for name, p in parameters.items() if p.requires_grad}
        persistent = self.network.state_dict().keys()
        buffers = {name: b for name, b in self.network.named_buffers() if name in persistent}
        return {**trained, **buffers}

    def state_dict(self) -> dict[str, Tensor]:
        return {name: tensor.detach() for name, tensor in self._tensors().items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for name, tensor in self._tensors().items():
            tensor.copy_(_like(state[name], tensor))


class GeneratorState:
    """The state of one of numpy's generators."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator

    def state_dict(self) -> dict[str, Any]:
        return dict(self.generator.bit_generator.state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.bit_generator.state = state


class RandomState:
    """The states of all random generators."""

    def state_dict(self) -> dict[str, Any]:
        numpy: dict[str, Any] = dict(np.random.get_state(legacy=False))  # type: ignore[call-overload]  # noqa: NPY002
        key = torch.from_numpy(numpy["state"]["key"].astype(np.int64))
        return {
            "python": random.getstate(),
            "numpy": {**numpy, "state": {**numpy["state"], "key": key}},
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        random.setstate(state["python"])
        numpy = state["numpy"]
        key = numpy["state"]["key"].numpy().astype(np.uint32)
        np.random.set_state({**numpy, "state": {**numpy["state"], "key": key}})  # noqa: NPY002
        torch.set_rng_state(state["torch"])
        if state["cuda"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["cuda"])

    @classmethod
    def of_all_processes(cls) -> list[dict[str, Any]]:
        """One state for each process; all must call it."""
        own = cls().state_dict()
        states = [own] * idist.get_world_size()
        if len(states) > 1:
            dist.all_gather_object(states, own)
        return states

    @classmethod
    def restore(cls, states: list[dict[str, Any]]) -> None:
        """The state of this process; with another number of processes than before, generators stay as they are."""
        if len(states) == idist.get_world_size():
            cls().load_state_dict(states[idist.get_rank()])


def gathered(state: Any) -> Any:
    """A state with whole tensors on the CPU; all processes must call it."""

    def whole(tensor: Tensor) -> Tensor:
        return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().cpu()

    return tree_map_only(Tensor, whole, state)


def load_state(part: Any, state: Any) -> None:
    """Load a state that `gathered` made into a part that may be sharded."""
    if isinstance(part, Optimizer):
        parameters = [p for group in part.param_groups for p in group["params"]]
        moments = {
            number: {
                k: _like(v, parameters[number]) if _is_moment(v, parameters[number]) else v for k, v in own.items()
            }
            for number, own in state["state"].items()
        }
        state = {**state, "state": moments}
    part.load_state_dict(state)


def _is_moment(value: Any, parameter: Tensor) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and value.shape == parameter.shape


def _like(whole: Tensor, parameter: Tensor) -> Tensor:
    """A whole tensor, sharded as `parameter` is."""
    if isinstance(parameter, DTensor):
        return distribute_tensor(whole.to(parameter.device), parameter.device_mesh, parameter.placements)
    return whole


logger = logging.getLogger(__name__)
STAGES = ("regions", "reading", "training")
KEEP = 2


class Checkpoints:
    """The checkpoints of one run: FOLDER/checkpoints/STAGE-STEP-DIGEST.pt, the last two. The digest, of the file, tells a
    whole one from a damaged one.

    Args:
        folder: the run's output folder.
        identity: what makes two runs the same, as JSON values; checkpoints of another run are refused.
        every: steps between two checkpoints; there is also one after each epoch, when it has been validated.
    """

    def __init__(self, folder: str | Path, identity: Mapping[str, Any], every: int = 500) -> None:
        self.folder = Path(folder) / "checkpoints"
        self.identity = json.loads(json.dumps(identity, sort_keys=True, default=str))
        self.every = every
        self.asked_to_stop = False  # SIGTERM came to this process
        self.stopped = False  # all processes have stopped for it

    def latest(self) -> dict[str, Any] | None:
        """The last whole checkpoint, on the CPU; a damaged one is skipped with a warning.

        Raises:
            OutputError: it is of another run.
        """
        for file in reversed(self._files()):
            try:
                if _digest(file) != file.stem.rsplit("-", 1)[1]:
                    raise ValueError("its bytes are not those that were written")
                state = torch.load(file, map_location="cpu", weights_only=True)
            except Exception as error:  # whatever a damaged file makes of torch's reader
                logger.warning("%s is damaged (%s); going back to the checkpoint before it", file, error)
                continue
            saved = state["identity"]
            other = sorted(k for k in {**saved, **self.identity} if saved.get(k) != self.identity.get(k))
            if other:
                raise OutputError(
                    self.folder,
                    f"checkpoints of a run with other {', '.join(other)}",
                    "the same configuration to resume, another output_dir, or that folder removed to begin anew",
                )
            return state
        return None

    def skip(self, stage: str) -> bool:
        """Whether nothing is left to do in a stage: the run was stopped before it, or its last checkpoint is of a later one."""
        if self.stopped:
            return True
        state = self.latest()
        return state is not None and STAGES.index(state["stage"]) > STAGES.index(stage)

    def save(self, stage: str, step: int, parts: Mapping[str, Any]) -> None:
        """Write the states of `parts` and of the random generators; all processes must call it."""
        states = {name: gathered(part.state_dict()) for name, part in parts.items()}
        random = RandomState.of_all_processes()
        if idist.get_rank() > 0:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        whole = {"identity": self.identity, "stage": stage, "step": step, "parts": states, "random": random}
        new = self.folder / "new.pt"
        with atomic_file(new, sync=True) as file:
            torch.save(whole, file)
        new.replace(self.folder / f"{stage}-{step:08d}-{_digest(new)}.pt")
        files = self._files()
        later = [file for file in files if _place(file) > (STAGES.index(stage), step)]  # damaged: this run did without
        for old in [*later, *[file for file in files if file not in later][:-KEEP]]:
            old.unlink()

    def _files(self) -> list[Path]:
        """From old to new."""
        return sorted((file for stage in STAGES for file in self.folder.glob(f"{stage}-*-*.pt")), key=_place)

    def watch(self, engine: Engine, stage: str, parts: Mapping[str, Any]) -> None:
        """Save `parts` and the engine's step as the engine runs, and stop it after a step when SIGTERM came (`handle_sigterm`).
        Call it after all other handlers were attached, for what they do at the end of an epoch belongs to it."""
        parts = {**parts, "engine": engine}

        def after_step(engine: Engine) -> None:
            step = engine.state.iteration
            if step % engine.state.epoch_length == 0:
                return  # the epoch is not over before it is validated
            stop = self._stop_everywhere()
            if stop or step % self.every == 0:
                self.save(stage, step, parts)
            if stop:
                self._stop(engine)

        def after_epoch(engine: Engine) -> None:
            self.save(stage, engine.state.iteration, parts)
            if self._stop_everywhere():
                self._stop(engine)

        engine.add_event_handler(Events.ITERATION_COMPLETED, after_step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, after_epoch)

    @contextmanager
    def handle_sigterm(self) -> Iterator[None]:
        """While the block runs, SIGTERM asks the engine to stop instead of ending the process."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def resume(self, engine: Engine, stage: str, parts: Mapping[str, Any]) -> int:
        """Bring `parts` and the engine to where the last checkpoint of this stage was, and say so.

        Returns:
            the step to resume after; 0 when there is none.
        """
        state = self.latest()
        if state is None or state["stage"] != stage:
            return 0
        for name, part in {**parts, "engine": engine}.items():
            load_state(part, state["parts"][name])
        RandomState.restore(state["random"])
        log_rank_zero("%s resumes after step %d, from %s", stage, state["step"], self.folder)
        return state["step"]

    def end(self) -> None:
        """Leave an empty file `ended` beside the checkpoints, for scripts that ask whether to start the run again."""
        if idist.get_rank() == 0:
            (self.folder / "ended").touch()

    def _stop(self, engine: Engine) -> None:
        self.stopped = True
        log_rank_zero(
            "stopped by SIGTERM after step %d; the same command resumes from %s", engine.state.iteration, self.folder
        )
        engine.terminate(skip_completed=True)

    def _on_signal(self, *_: object) -> None:
        self.asked_to_stop = True

    def _stop_everywhere(self) -> bool:
        """Whether any process was asked to stop."""
        return bool(idist.all_reduce(int(self.asked_to_stop)))


def log_rank_zero(message: str, *values: object) -> None:
    """Log it once, not from every process."""
    if idist.get_rank() == 0:
        logger.info(message, *values)


def _place(file: Path) -> tuple[int, int]:
    """Stage and step, as numbers that grow as the run goes on."""
    stage, step, _ = file.stem.split("-")
    return STAGES.index(stage), int(step)


def _digest(file: Path) -> str:
    return file_digest(file, algorithm=partial(hashlib.blake2b, digest_size=8))
