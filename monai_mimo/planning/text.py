"""A plan in words and tables, with the formula behind each number."""

from __future__ import annotations

from .memory import ADAM, EPOCHS, GB, GRADIENT, PUBLISHED_DAYS, PUBLISHED_GPUS, SAMPLES, Fit, Part, TrainingPlan


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
