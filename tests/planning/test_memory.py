"""The plan of a run against closed forms, published facts, and what a real step takes."""

from __future__ import annotations

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from monai_mimo.cli import main
from monai_mimo.data.conversation import collate_questions
from monai_mimo.data.tokenizer import train_tokenizer
from monai_mimo.errors import InputError
from monai_mimo.losses import MimoLoss, Targets
from monai_mimo.models import Mimo, MimoConfig, load_preset
from monai_mimo.models.weights import without_pretrained
from monai_mimo.planning.memory import ADAM, GB, GRADIENT, Costs, TrainingPlan, _cut, costs_of, describe, plan_training
from monai_mimo.planning.trace import SampleSize, encode, measure, meta_model, parts_of, trace_step

SAMPLE = SampleSize(question=12, answer=20, masks=2)
LORA = {"rank": 4, "alpha": 8}


class RealStep:
    """The step that `trace_step` traces, with real weights and numbers."""

    def __init__(self, config: MimoConfig, count: int) -> None:
        self.model = Mimo(without_pretrained(config), train_tokenizer([], 300))
        side = config.image_size
        self.questions = collate_questions([encode(self.model, SAMPLE)] * count, range(count), 0)
        self.images, self.masks = torch.rand(count, 3, side, side), torch.rand(count * SAMPLE.masks, side, side) > 0.5
        self.function = MimoLoss(phrase_tokens=self.model.phrase_ids)
        self.optimizer = torch.optim.Adam(p for p in self.model.parameters() if p.requires_grad)

    def loss(self) -> torch.Tensor:
        targets = Targets(self.questions.labels, self.masks, self.questions.presence)
        return self.function(self.model(self.images, self.questions), targets)

    def run(self) -> None:
        self.optimizer.zero_grad()
        self.loss().backward()
        self.optimizer.step()


def small(frozen: bool, lora: dict | None) -> MimoConfig:
    return load_preset("nano", image_encoder={"name": "convolutions", "frozen": frozen}, lora=lora)


@pytest.mark.parametrize(("frozen", "lora"), [(False, None), (True, LORA)])
def test_a_traced_step_keeps_and_computes_what_a_real_one_does(frozen: bool, lora: dict | None) -> None:
    config = small(frozen, lora)
    traced = trace_step(meta_model(config), SAMPLE, 3)
    step = RealStep(config, 3)
    real = measure(step.model, step.loss)
    assert traced.tokens == step.questions.input_ids.shape[1]
    assert traced.forward == real.forward
    assert traced.backward == real.backward
    assert set(traced.saved) == set(real.saved)
    for name, size in real.saved.items():
        assert traced.saved[name] == pytest.approx(size, rel=0.01, abs=100), name


@pytest.mark.parametrize("lora", [None, LORA])
def test_memory_is_within_15_percent_of_what_the_profiler_measures(lora: dict | None) -> None:
    """Weights, gradients and Adam's moments by their bytes; the peak of a step by what torch's allocator gives and takes."""
    count, config = 16, small(True, lora)
    plan = plan_training(costs_of(config, SAMPLE, bfloat16=False), 1, GB, count)
    step = RealStep(config, count)
    step.run()  # Adam makes its moments in the first step
    tensors = {id(t): t for t in (*step.model.parameters(), *step.model.buffers())}.values()
    gradients = sum(p.grad.nbytes for p in step.model.parameters() if p.grad is not None)
    moments = sum(t.nbytes for state in step.optimizer.state.values() for t in state.values())
    assert sum(p.weights for p in plan.costs.parts) == pytest.approx(sum(t.nbytes for t in tensors), rel=0.01)
    assert sum(p.trainable for p in plan.costs.parts) * GRADIENT == pytest.approx(gradients, rel=0.01)
    assert sum(p.trainable for p in plan.costs.parts) * ADAM == pytest.approx(moments, rel=0.01)

    step.optimizer.zero_grad()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step.run()
    peak = now = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    fit = plan.fits[0]
    assert (fit.strategy, fit.micro_batch) == ("ddp", count)
    assert fit.gradients + fit.fixed + count * fit.per_sample == pytest.approx(peak, rel=0.15)


def test_operations_are_those_of_the_closed_form() -> None:
    """Of an LLM without LoRA: 2 for each weight of its matrices and each token, attention's two products of T x T, and the
    output layer at the tokens that have a label. The backward pass of what is trained takes twice the forward pass."""
    config = small(True, None)
    model = meta_model(config)
    step = trace_step(model, SAMPLE, 2)
    layers = model.language_model.causal_lm.base_model.layers
    matrices = sum(p.numel() for p in layers.parameters() if p.ndim == 2)
    width, vocabulary = model.language_model.width, len(model.tokenizer)
    expected = 2 * step.tokens * matrices + 4 * step.tokens**2 * width * len(layers)
    expected += 2 * SAMPLE.answer * width * vocabulary
    assert step.forward["language_model"] == 2 * expected
    trained = sum(step.forward.values()) - step.forward["image_encoder"]
    assert step.backward == pytest.approx(2 * trained, rel=0.15)  # attention's takes 2.5 times


@pytest.fixture(scope="module")
def published() -> TrainingPlan:
    return plan_training(costs_of(load_preset("7b")), 4, 80 * GB, 40)


def test_published_sizes(published: TrainingPlan) -> None:
    millions = {part.name: part.parameters / 1e6 for part in published.costs.parts}
    assert millions["image_encoder"] == pytest.approx(632, rel=0.01)
    assert millions["segmentation_encoder"] == pytest.approx(637, rel=0.01)
    assert millions["language_model"] == pytest.approx(6738, rel=0.01)  # Llama-2-7B, which Vicuna-7B is
    forward = {part.name: part.forward for part in published.costs.parts}
    matrices = 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    assert forward["language_model"] == pytest.approx(2 * published.costs.tokens * matrices, rel=0.03)
    # SAM counts 2973 billion multiply-adds for ViT-H at 1024 pixels (Kirillov et al. 2023, model card of fvcore)
    assert forward["segmentation_encoder"] == pytest.approx(2 * 2.973e12, rel=0.05)


def test_the_published_run_is_within_what_its_gpus_can_do(published: TrainingPlan) -> None:
    """10 to 12 days on 4 A800: more than the operations need at the peak, by less than a hundred."""
    [ddp, *_, checkpointed] = published.fits
    fastest = published.days(utilisation=1)
    assert 0.01 < fastest / 12 < fastest / 10 < 1
    assert ddp.used < 80 * GB
    assert checkpointed.per_sample < ddp.per_sample
    assert published.days(utilisation=0.5) == pytest.approx(2 * fastest)
    text = describe(published)
    assert "632" in text or "630" in text
    assert "10 to 12 days on 4 A800" in text


@pytest.fixture(scope="module")
def costs() -> Costs:
    return costs_of(small(True, LORA), SAMPLE, bfloat16=False)


def test_sharding_divides_what_it_should(costs: Costs) -> None:
    (ddp1, _, fsdp1, _), (ddp4, _, fsdp4, _) = (plan_training(costs, gpus, GB, 16).fits for gpus in (1, 4))
    assert ddp1.weights == ddp4.weights == fsdp1.weights
    assert ddp1.gathered == 0
    assert ddp4.gathered == ddp4.gradients
    for name in ("weights", "gradients", "optimizer"):
        assert getattr(fsdp4, name) == -(-getattr(fsdp1, name) // 4)
    assert 0 < fsdp4.gathered < ddp4.weights


def test_what_a_cache_and_four_bits_save(costs: Costs) -> None:
    config = costs.config
    cached, four_bit = (
        costs_of(config, SAMPLE, bfloat16=False, **option) for option in ({"cached": True}, {"four_bit": True})
    )
    encoder = next(part for part in costs.parts if part.name == "image_encoder")
    assert costs.flops() - cached.flops() == encoder.forward > 0
    matrices = sum(
        p.numel()
        for name, p in meta_model(config).language_model.named_parameters()
        if p.ndim == 2 and "layers" in name and not p.requires_grad
    )
    saving = sum(p.weights for p in costs.parts) - sum(p.weights for p in four_bit.parts)
    assert saving == pytest.approx(matrices * (4 - 0.5625), rel=0.001)
    assert {fit.strategy for fit in plan_training(four_bit, 4, GB, 16).fits} == {"ddp"}


@pytest.mark.parametrize(
    ("fitting", "batch", "gpus", "expected"),
    [
        (100, 40, 4, (10, 1)),
        (10, 40, 4, (10, 1)),
        (9, 40, 4, (5, 2)),
        (1, 40, 4, (1, 10)),
        (3, 40, 3, (3, 5)),
        (0, 40, 4, (0, 0)),
    ],
)
def test_micro_batches(fitting: int, batch: int, gpus: int, expected: tuple[int, int]) -> None:
    micro, accumulation = _cut(fitting, batch, gpus)
    assert (micro, accumulation) == expected
    assert micro <= fitting
    assert fitting == 0 or micro * accumulation * gpus >= batch


def test_what_does_not_fit_is_said(costs: Costs) -> None:
    plan = plan_training(costs, 1, 2**20, 4)
    assert all(fit.micro_batch == 0 for fit in plan.fits)
    assert plan.best is None
    assert "nothing fits" in describe(plan)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"gpus": 0}, "gpus"), ({"memory": -1}, "memory"), ({"batch": 0}, "batch"), ({"utilisation": 0}, "utilisation")],
)
def test_bad_numbers(costs: Costs, options: dict, named: str) -> None:
    with pytest.raises(InputError, match=named):
        plan_training(costs, **{"gpus": 1, "memory": GB, "batch": 4, **options})


def test_a_cache_or_four_bits_of_what_is_trained() -> None:
    for options in ({"cached": True}, {"four_bit": True}):
        with pytest.raises(InputError):
            costs_of(small(False, None), **options)


def test_command(capsys: pytest.CaptureFixture, costs: Costs, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        "monai_mimo.planning.memory.costs_of", lambda *given, **options: asked.append((given, options)) or costs
    )
    arguments = [
        "plan",
        "--preset",
        "nano",
        "--gpus",
        "2",
        "--gpu-memory",
        "1",
        "--batch",
        "8",
        "--answer-tokens",
        "20",
    ]
    assert main([*arguments, "--precision", "fp32"]) == 0
    [((config, sample), options)] = asked
    assert (config.preset, sample) == ("nano", SampleSize(answer=20))
    assert options == {"bfloat16": False, "cached": False, "four_bit": False}
    out = capsys.readouterr().out
    for word in ("language model", "FSDP, checkpointed", "micro-batch", "days", "TFLOP"):
        assert word in out
    assert "10 to 12 days" not in out
    assert main(["plan", "--preset", "huge"]) == 2
    assert "huge" in capsys.readouterr().err
    assert main(["plan", "--preset", "nano", "--answer-tokens", "3"]) == 2


def test_parts_hold_every_parameter() -> None:
    model = meta_model(small(False, LORA))
    counted = sum(p.numel() for part in parts_of(model).values() for p in part.parameters())
    assert counted == sum(p.numel() for p in model.parameters())
