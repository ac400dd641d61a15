"""A step of the trainer: the same gradient in whatever pieces it is computed, and by whatever saves memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from datasets import Dataset
from torch import Tensor

from monai_mimo.data.dataset import Batch
from monai_mimo.engines import MimoTrainer, SamplingConfig, load_sets, prepare_batch, prepare_model, training_loader
from monai_mimo.engines.distribute import distribute
from monai_mimo.engines.setup import replace_linear
from monai_mimo.errors import InputError
from monai_mimo.losses import MimoLoss
from monai_mimo.models import Mimo

from ..conftest import make_nano
from .small_set import write_set


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_sets({"a": str(write_set(tmp_path_factory.mktemp("set") / "set"))}, "train")


def batches_of(model: Mimo, rows: Dataset, images_per_batch: int) -> list[Batch]:
    """The first step, in micro-batches."""
    loader = training_loader(model, rows, SamplingConfig(images_per_batch, 9, 2, augment_images=False))
    return next(iter(loader))


def step(model: Mimo, batches: list[Batch], amp: bool = False) -> tuple[float, dict[str, float], dict[str, Tensor]]:
    """Loss, its parts, and gradients of a step that changes nothing."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.0)
    trainer = MimoTrainer(
        device="cpu",
        max_epochs=1,
        epoch_length=1,
        train_data_loader=[batches],
        network=model,
        loss_function=MimoLoss(presence=1.0),
        optimizer=optimizer,
        prepare_batch=prepare_batch,
        decollate=False,
        amp=amp,
    )
    trainer.run()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return trainer.state.output["loss"].item(), trainer.state.output["parts"], gradients


def test_the_gradient_does_not_depend_on_the_pieces(nano: Mimo, rows: Dataset) -> None:
    """Pieces have unequal numbers of answers, masks and words; one is without masks."""
    whole, pieces = batches_of(nano, rows, 9), batches_of(nano, rows, 2)
    assert (len(whole), len(pieces)) == (1, 5)
    assert sorted(n for b in pieces for n in b.rows) == sorted(whole[0].rows)
    masks = [len(b.masks) for b in pieces]
    assert 0 in masks
    assert len(set(masks)) > 1
    loss, parts, gradients = step(nano, whole)
    also, same_parts, same = step(nano, pieces)
    assert also == pytest.approx(loss, rel=1e-5)
    assert parts.pop("alignment") > same_parts.pop("alignment")  # it compares within a piece, and here has no weight
    assert same_parts == pytest.approx(parts, rel=1e-4)
    assert same.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(same[name], gradient, rtol=1e-3, atol=1e-6)


def test_a_batch_that_does_not_count_changes_nothing(nano: Mimo, rows: Dataset) -> None:
    batches = batches_of(nano, rows, 3)
    loss, parts, gradients = step(nano, batches)
    also, same_parts, same = step(nano, [*batches, replace(batches[0], counted=False)])
    assert (also, same_parts) == (loss, parts)
    assert all(torch.equal(same[name], gradient) for name, gradient in gradients.items())


def test_forgotten_activations_give_the_same_gradient(rows: Dataset) -> None:
    torch.manual_seed(0)
    model = make_nano(lora={"rank": 2, "alpha": 8})
    batches = batches_of(model, rows, 9)
    loss, _, gradients = step(model, batches)
    calls = []
    hook = model.language_model.causal_lm.model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    prepare_model(model, "cpu", activation_checkpointing=True)
    also, _, same = step(model, batches)
    hook.remove()
    assert len(calls) == 2  # forward, and once more in the backward pass
    assert also == pytest.approx(loss, rel=1e-6)
    assert same.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(same[name], gradient, rtol=1e-4, atol=1e-7)


def test_bfloat16_is_near_float32(nano: Mimo, rows: Dataset) -> None:
    batches = batches_of(nano, rows, 9)
    loss, _, gradients = step(nano, batches)
    also, _, half = step(nano, batches, amp=True)
    assert also == pytest.approx(loss, rel=0.02)
    assert also != loss
    names = ("input_aligner.queries", "language_model.model.model.layers.0.mlp.up_proj.weight")
    for name in names:
        assert half[name].dtype == torch.float32
        assert torch.cosine_similarity(half[name].flatten(), gradients[name].flatten(), dim=0) > 0.98


def test_frozen_parts_get_no_gradient(nano: Mimo, rows: Dataset) -> None:
    """As in stage 2; also where the questions have no mask to decode."""
    model = prepare_model(nano, "cpu", frozen=["mask_decoder"])
    _, _, gradients = step(model, batches_of(model, rows.filter(lambda row: row["perspective"] == 0), 9))
    assert gradients
    assert not any(name.startswith("mask_decoder.") for name in gradients)
    with pytest.raises(InputError, match=r"'decoder'; expected of .*mask_decoder"):
        prepare_model(nano, "cpu", frozen=["decoder"])


def test_four_bits_without_cuda_are_one_line(nano: Mimo, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="four_bit: found no CUDA device"):
        prepare_model(nano, "cpu", four_bit=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("monai_mimo.engines.setup.find_spec", lambda _: None)
    with pytest.raises(InputError, match="no package bitsandbytes"):
        prepare_model(nano, "cpu", four_bit=True)


def test_four_bits_are_near_and_their_adapter_learns(rows: Dataset) -> None:
    """By the CPU kernels of bitsandbytes, where it is installed."""
    nn = pytest.importorskip("bitsandbytes").nn
    torch.manual_seed(0)
    model = make_nano(lora={"rank": 2, "alpha": 8})
    batches = batches_of(model, rows, 9)
    loss, _, gradients = step(model, batches)
    layers = model.language_model.causal_lm.model.layers
    replace_linear(model).to("cpu")
    assert sum(isinstance(module, nn.Linear4bit) for module in layers.modules()) == 2 * 7
    assert not any(isinstance(m, nn.Linear4bit) for m in model.language_model.causal_lm.lm_head.modules())
    also, _, near = step(model, batches)
    assert also == pytest.approx(loss, rel=0.05)
    assert near.keys() == gradients.keys()
    name = "language_model.model.base_model.model.model.layers.0.self_attn.q_proj.lora_B.default.weight"
    assert torch.cosine_similarity(near[name].flatten(), gradients[name].flatten(), dim=0) > 0.9


def test_an_unknown_strategy_is_one_line(nano: Mimo) -> None:
    with pytest.raises(InputError, match="one of ddp, fsdp"):
        distribute(nano, "zero3")
