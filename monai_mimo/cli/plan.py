"""`mimo plan`."""

from __future__ import annotations

import argparse

from ..errors import InputError


def add_parser(commands: argparse._SubParsersAction) -> None:
    """The options."""
    parser = commands.add_parser("plan", help="what a training run would need: memory, micro-batch, operations, days")
    parser.add_argument("--preset", default="7b", help="the model (default: 7b)")
    parser.add_argument("--gpus", type=int, default=1, help="how many (default: 1)")
    parser.add_argument("--gpu-memory", type=float, default=80, metavar="GB", help="of each (default: 80)")
    parser.add_argument("--batch", type=int, default=40, help="global batch in samples (default: 40, as published)")
    parser.add_argument(
        "--precision", choices=["bf16", "fp32"], default="bf16", help="of the computation (default: bf16)"
    )
    parser.add_argument("--feature-cache", action="store_true", help="frozen encoders were run beforehand")
    parser.add_argument("--four-bit", action="store_true", help="the frozen language model is held in 4 bits")
    parser.add_argument("--question-tokens", type=int, default=40, help="words of a question in tokens (default: 40)")
    parser.add_argument("--answer-tokens", type=int, default=80, help="an answer in tokens (default: 80)")
    parser.add_argument("--masks", type=int, default=2, help="masks of an answer (default: 2)")
    parser.add_argument("--samples", type=int, default=872_590, help="of an epoch (default: 872590, MIMOSeg)")
    parser.add_argument("--epochs", type=int, default=3, help="(default: 3)")
    parser.add_argument(
        "--peak", type=float, default=312, metavar="TFLOPS", help="of a GPU (default: 312, of an A100 or A800 in bf16)"
    )
    parser.add_argument(
        "--utilisation", type=float, default=0.4, help="the share of the peak that a run gets (default: 0.4)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print the plan."""
    if options.masks < 0 or options.question_tokens < 1 or options.answer_tokens < 4 * options.masks + 1:
        found = f"{options.question_tokens}, {options.answer_tokens}"
        raise InputError(
            "question and answer tokens", found, f"at least 1 and {4 * options.masks + 1}, for each mask takes 4"
        )

    from ..models import load_preset
    from ..planning.memory import GB, costs_of, describe, plan_training
    from ..planning.trace import SampleSize

    costs = costs_of(
        load_preset(options.preset),
        SampleSize(options.question_tokens, options.answer_tokens, masks=options.masks),
        bfloat16=options.precision == "bf16",
        cached=options.feature_cache,
        four_bit=options.four_bit,
    )
    plan = plan_training(
        costs,
        options.gpus,
        int(options.gpu_memory * GB),
        options.batch,
        peak=options.peak * 1e12,
        utilisation=options.utilisation,
        samples=options.samples,
        epochs=options.epochs,
    )
    print(describe(plan))
