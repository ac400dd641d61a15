"""What a training run would need: parameters, memory, operations and days, before anything is downloaded or rented."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn

from ..engines.distribute import large_blocks
from ..errors import InputError
from ..models import Mimo, MimoConfig
from .trace import SampleSize, meta_model, parts_of, trace_step

GB = 2**30
SAMPLE = SampleSize()
GRADIENT, ADAM = 4, 8  # bytes of a trained float32 weight: its gradient, and Adam's two moments
FOUR_BITS = 0.5 + 4 / 64  # bytes of a weight in NF4: half a byte, and a float32 scale for each block of 64
USABLE = 0.9  # of a GPU's memory; the rest is CUDA's, the caching allocator's holes and what lives for a moment
SAMPLES, EPOCHS = 872_590, 3  # of MIMOSeg, as published
PUBLISHED_DAYS, PUBLISHED_GPUS = (10, 12), 4  # A800 80 GB
A800_FLOPS = 312e12  # bfloat16 with float32 sums, dense, as NVIDIA states it; A100 and A800 are the same


@dataclass(frozen=True)
class Part:
    """One part of a model: parameters, bytes of weights and of one sample's activations, and a sample's forward operations."""

    name: str
    parameters: int
    trainable: int
    weights: int
    saved: int
    forward: int


@dataclass(frozen=True)
class Fit:
    """How a step is run. Bytes on each GPU, and the `micro_batch` that fits, 0 if none does; `accumulation` of them on each GPU
    make the global batch."""

    strategy: str
    checkpointing: bool
    weights: int
    gradients: int
    optimizer: int
    gathered: int
    fixed: int
    per_sample: int
    micro_batch: int
    accumulation: int

    @property
    def used(self) -> int:
        """All of it with `micro_batch` samples, or with one if none fits."""
        state = self.weights + self.gradients + self.optimizer + self.gathered
        return state + self.fixed + self.per_sample * max(1, self.micro_batch)


@dataclass(frozen=True)
class Costs:
    """What a sample takes of a model, wherever it runs.

    Attributes:
        tokens: T, of its sequence.
        parts: of the model; blocks: bytes of the weights of each that FSDP gathers by itself.
        fixed: bytes that are kept for the backward pass whatever the number of samples, such as weights in another type.
        checkpointed: bytes of a sample's activations in a language model that computes them again.
        backward: operations of the backward pass of a sample.
        cached, four_bit: see `costs_of`.
    """

    config: MimoConfig
    sample: SampleSize
    tokens: int
    parts: list[Part]
    blocks: list[int]
    fixed: int
    checkpointed: int
    backward: int
    cached: bool
    four_bit: bool

    def activations(self, checkpointing: bool) -> int:
        """Bytes of a sample's activations."""
        kept = {part.name: part.saved for part in self.parts}
        return sum(kept.values()) - checkpointing * (kept["language_model"] - self.checkpointed)

    def flops(self, checkpointing: bool = False) -> int:
        """Operations of a sample, forward and backward, and of the language model forward again with checkpointing."""
        forward = {part.name: part.forward for part in self.parts}
        return sum(forward.values()) + self.backward + checkpointing * forward["language_model"]


@dataclass(frozen=True)
class TrainingPlan:
    """A run on `gpus` of `memory` bytes each with a global batch of `batch` samples. A GPU does `utilisation` of its `peak` of
    operations a second."""

    costs: Costs
    gpus: int
    memory: int
    batch: int
    fits: list[Fit]
    peak: float
    utilisation: float
    samples: int
    epochs: int

    @property
    def best(self) -> Fit | None:
        """The way that fits with the fewest operations, and of those the fewest rounds; none: nothing fits."""
        fitting = [fit for fit in self.fits if fit.micro_batch]
        return min(fitting, key=lambda fit: (fit.checkpointing, fit.accumulation), default=None)

    def days(self, *, utilisation: float | None = None, gpus: int | None = None, checkpointing: bool = False) -> float:
        """How long the run takes."""
        operations = self.samples * self.epochs * self.costs.flops(checkpointing)
        return operations / ((gpus or self.gpus) * self.peak * (utilisation or self.utilisation)) / 86400


def costs_of(
    config: MimoConfig,
    sample: SampleSize = SAMPLE,
    *,
    bfloat16: bool = True,
    cached: bool = False,
    four_bit: bool = False,
) -> Costs:
    """Trace a step of a model.

    Args:
        bfloat16: compute by autocast.
        cached: the frozen encoders' maps come from a feature cache; the encoders are then not computed, but still loaded.
        four_bit: the frozen matrices of the language model's layers are in NF4.

    Raises:
        InputError: encoders or a language model are trained where they must be frozen.
    """
    if cached and not all(c is None or c.frozen for c in (config.image_encoder, config.segmentation_encoder)):
        raise InputError("feature cache", "a trained image encoder", "encoders that are frozen")
    if four_bit and config.lora is None:
        raise InputError("four bit", "a language model that is trained itself", "lora")
    model = meta_model(config)
    four_bit_names = _in_four_bits(model) if four_bit else set()
    blocks = [_bytes(block) for block in large_blocks(model)]
    modules = parts_of(model)
    weights = {name: _bytes(module, four_bit_names, name) for name, module in modules.items()}
    counts = {
        name: (sum(p.numel() for p in m.parameters()), sum(p.numel() for p in m.parameters() if p.requires_grad))
        for name, m in modules.items()
    }
    # What grows with the batch is the difference between two samples and one; what is left is there in any case.
    one, two = (trace_step(model, sample, n, bfloat16=bfloat16, cached=cached) for n in (1, 2))
    per_sample, forward = _difference(two.saved, one.saved), _difference(two.forward, one.forward)
    names = [*counts, *(set(per_sample) - set(counts))]
    parts = [
        Part(name, *counts.get(name, (0, 0)), weights.get(name, 0), per_sample.get(name, 0), forward.get(name, 0))
        for name in names
    ]
    # With checkpointing the inputs of the language model's layers are kept, and all of one layer at a time.
    language = model.language_model.causal_lm.config
    inputs = language.num_hidden_layers * one.tokens * language.hidden_size * (2 if bfloat16 else 4)
    return Costs(
        config,
        sample,
        one.tokens,
        parts,
        blocks,
        fixed=sum(max(0, 2 * one.saved.get(name, 0) - two.saved.get(name, 0)) for name in two.saved),
        checkpointed=inputs + per_sample["language_model"] // language.num_hidden_layers,
        backward=two.backward - one.backward,
        cached=cached,
        four_bit=four_bit,
    )


def plan_training(
    costs: Costs,
    gpus: int,
    memory: int,
    batch: int,
    *,
    peak: float = A800_FLOPS,
    utilisation: float = 0.4,
    samples: int = SAMPLES,
    epochs: int = EPOCHS,
) -> TrainingPlan:
    """Plan a run.

    Args:
        gpus, memory: how many, and the bytes of each.
        batch: global, in samples.
        peak, utilisation: operations a second of a GPU, and the part of it that a run gets.
        samples, epochs: of the whole run.

    Raises:
        InputError: a number is not positive.
    """
    numbers = {"gpus": gpus, "memory": memory, "batch": batch, "peak": peak, "utilisation": utilisation}
    for name, value in {**numbers, "samples": samples, "epochs": epochs}.items():
        if value <= 0:
            raise InputError(name, str(value), "more than 0")
    trainable = sum(part.trainable for part in costs.parts)
    weights, gradients, moments = sum(p.weights for p in costs.parts), trainable * GRADIENT, trainable * ADAM
    # DDP holds its gradients twice, once in the buckets that it sends. FSDP holds the weights outside of blocks whole, and of
    # the blocks the one that runs and the one that is fetched meanwhile.
    ways = {"ddp": (1, gradients if gpus > 1 else 0)}
    if not costs.four_bit:
        ways["fsdp"] = (gpus, weights - sum(costs.blocks) + 2 * max(costs.blocks, default=0))
    fits = []
    for strategy, (parts, gathered) in ways.items():
        shares = {
            name: -(-size // parts)
            for name, size in (("weights", weights), ("gradients", gradients), ("optimizer", moments))
        }
        for checkpointing in (False, True):
            activations = costs.activations(checkpointing)
            room = USABLE * memory - sum(shares.values()) - gathered - costs.fixed
            micro, rounds = _cut(math.floor(room / activations), batch, gpus)
            fits.append(
                Fit(
                    strategy,
                    checkpointing,
                    **shares,
                    gathered=gathered,
                    fixed=costs.fixed,
                    per_sample=activations,
                    micro_batch=micro,
                    accumulation=rounds,
                )
            )
    return TrainingPlan(costs, gpus, memory, batch, fits, peak, utilisation, samples, epochs)


def _difference(two: dict[str, int], one: dict[str, int]) -> dict[str, int]:
    return {name: value - one.get(name, 0) for name, value in two.items()}


def _cut(fitting: int, batch: int, gpus: int) -> tuple[int, int]:
    """The micro-batch, at most `fitting`, and how many of them each GPU accumulates to a global batch; (0, 0): none fits."""
    share = -(-batch // gpus)
    if fitting < 1:
        return 0, 0
    accumulation = -(-share // min(fitting, share))
    return -(-share // accumulation), accumulation


def _in_four_bits(model: Mimo) -> set[str]:
    """The names of the weights that `models.four_bit` would put into four bits: frozen matrices of the LLM's layers."""
    output = model.language_model.causal_lm.get_output_embeddings()
    return {
        f"{name}.weight"
        for name, layer in model.language_model.named_modules()
        if type(layer) is nn.Linear and layer is not output and not layer.weight.requires_grad
    }


def _bytes(module: nn.Module, four_bit: set[str] | frozenset[str] = frozenset(), part: str = "") -> int:
    """Bytes of the weights and buffers of `module`; those named in `four_bit` count as such in the language model."""
    total = 0.0
    for name, p in module.named_parameters():
        total += p.numel() * (FOUR_BITS if part == "language_model" and name in four_bit else p.element_size())
    return int(total) + sum(b.numel() * b.element_size() for b in module.buffers())


def describe(plan: TrainingPlan) -> str:
    """The plan in words and tables, with the formula behind each number."""
    s, lines = plan.costs.sample, []
    lines.append(
        f"preset {plan.costs.config.preset}: {plan.gpus} GPU{'s' * (plan.gpus > 1)} of {plan.memory / GB:.0f} GB, global batch "
        f"{plan.batch}; a sample: question of {s.question} tokens, answer of {s.answer} with {s.masks} masks, a point, an image: "
        f"{plan.costs.tokens} tokens"
    )
    lines += ["", _table(_part_rows(plan))]
    lines += [
        "",
        "weights      = parameters x bytes of their type",
        f"gradients    = trainable x {GRADIENT}        Adam = trainable x {ADAM} (two float32 moments)",
        "activations  = what autograd keeps for the backward pass of one more sample, counted on a traced step without data",
        "forward      = operations of matrix products, convolutions and attention in that step; a multiply-add is two",
        "",
        _table(_fit_rows(plan)),
        "",
        "DDP          = weights + gradients + Adam on each GPU, and the gradients once more in the buckets that are sent",
        "FSDP         = (weights + gradients + Adam) / GPUs, and whole: what is in no block, the block that runs and the next",
        "checkpointed = of the language model's layers the inputs are kept (layers x tokens x width), and one whole layer",
        "micro-batch  = (90 % of the memory - all of this) / activations of a sample;  accumulation = batch / GPUs / micro-batch",
    ]
    used = plan.best
    lines.append("")
    if used is None:
        lines.append(
            "nothing fits: more memory, more GPUs with FSDP, a feature cache, or the language model in four bits"
        )
    else:
        lines.append(
            f"best: {_name(used)}, {used.micro_batch} samples at a time on each GPU, {used.accumulation} x for each step"
        )
    checkpointing = used is not None and used.checkpointing
    flops = plan.costs.flops(checkpointing)
    lines += [
        f"operations   = {flops / 1e12:.2f} TFLOP a sample, forward and backward{' and again forward' * checkpointing}",
        f"days         = {plan.samples:,} samples x {plan.epochs} epochs x {flops / 1e12:.2f} TFLOP / ({plan.gpus} GPU x "
        f"{plan.peak / 1e12:.0f} TFLOP/s x {plan.utilisation:.0%}) / 86400 = {plan.days(checkpointing=checkpointing):.2f}",
        "             The share of the peak is a guess: it is what large matrix products reach when nothing waits. Measure the "
        "time of a step, and divide.",
    ]
    if (plan.samples, plan.epochs, plan.costs.config.preset) == (SAMPLES, EPOCHS, "7b") and not plan.costs.cached:
        shares = [
            plan.days(utilisation=1, gpus=PUBLISHED_GPUS, checkpointing=checkpointing) / d for d in PUBLISHED_DAYS
        ]
        lines.append(
            f"published    = {PUBLISHED_DAYS[0]} to {PUBLISHED_DAYS[1]} days on {PUBLISHED_GPUS} A800, which is "
            f"{shares[1]:.1%} to {shares[0]:.1%} of their peak for the operations counted here"
        )
    return "\n".join(lines)


def _name(fit: Fit) -> str:
    return fit.strategy.upper() + ", checkpointed" * fit.checkpointing


def _part_rows(plan: TrainingPlan) -> list[list[str]]:
    rows = [["part", "parameters", "trainable", "weights", "gradients", "Adam", "activations", "forward"]]
    rows.append(["", "M", "M", "GB", "GB", "GB", "MB a sample", "GFLOP a sample"])
    total = Part(
        "all",
        *(
            sum(getattr(p, n) for p in plan.costs.parts)
            for n in ("parameters", "trainable", "weights", "saved", "forward")
        ),
    )
    for p in [*plan.costs.parts, total]:
        rows.append(
            [p.name.replace("_", " ")]
            + [f"{n / 1e6:.2f}" for n in (p.parameters, p.trainable)]
            + [f"{n / GB:.3f}" for n in (p.weights, p.trainable * GRADIENT, p.trainable * ADAM)]
            + [f"{p.saved / 2**20:.2f}", f"{p.forward / 1e9:.2f}"]
        )
    return rows


def _fit_rows(plan: TrainingPlan) -> list[list[str]]:
    rows = [
        [
            "on each GPU",
            "weights",
            "gradients",
            "Adam",
            "gathered",
            "fixed",
            "a sample",
            "micro-batch",
            "accumulation",
            "used",
        ]
    ]
    rows.append(["", *["GB"] * 6, "", "", "GB"])
    for f in plan.fits:
        numbers = (f.weights, f.gradients, f.optimizer, f.gathered, f.fixed, f.per_sample)
        fitting = [str(f.micro_batch), str(f.accumulation)] if f.micro_batch else ["does not fit", "-"]
        rows.append([_name(f), *(f"{n / GB:.3f}" for n in numbers), *fitting, f"{f.used / GB:.2f}"])
    return rows


def _table(rows: list[list[str]]) -> str:
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:]))]) for row in rows
    )
