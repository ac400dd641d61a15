"""The preset `base` and its recipe, on small random checkpoints of the same architectures: cut off, resumed, saved and asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import run

from monai_mimo.engines import MimoTrainer
from monai_mimo.engines.checkpoints import Checkpoints
from monai_mimo.inference import MimoPredictor
from monai_mimo.models import Mimo
from monai_mimo.models.preset import load_preset
from monai_mimo.models.weights import parameter_counts

from ..models import upstream
from ..models.test_vision_tower import VISION
from .small_set import write_set

CONFIGS = Path(__file__).parents[2] / "bundles" / "mimo" / "configs"


def checkpoints(folder: Path, language_model: str) -> dict[str, str]:
    """CLIP's ViT with both of its towers, SAM's ViT, and a language model with grouped keys and tied embeddings."""
    from transformers import AutoConfig, AutoModel

    upstream.language_model(folder / "llm", language_model, tie_word_embeddings=True)
    text = {**upstream.SMALL, "vocab_size": 50, "max_position_embeddings": 9, "bos_token_id": 1, "eos_token_id": 2}
    config = AutoConfig.for_model("clip", vision_config={**VISION, "hidden_act": "quick_gelu"}, text_config=text)
    upstream.randomize(AutoModel.from_config(config)).save_pretrained(folder / "clip")
    torch.save(upstream.sam().state_dict(), folder / "sam.pth")
    return {"llm": str(folder / "llm"), "image_encoder": str(folder / "clip"), "seg_encoder": str(folder / "sam.pth")}


def train(out: Path, dataset: Path, bases: dict[str, str], **changes: Any) -> None:
    run(
        "training",
        config_file=[str(CONFIGS / name) for name in ("train.yaml", "one_gpu.yaml")],
        bundle_root=str(CONFIGS.parent),
        dataset_dir=str(dataset),
        output_dir=str(out),
        epochs=1,
        steps_per_epoch=2,
        checkpoint_every=1,
        global_batch=4,
        images_per_batch=2,
        validation_images=2,
        workers=0,
        preset_changes={"aligner": {"queries": 8, "width": 32, "layers": 1, "heads": 2}},
        **bases,
        **changes,
    )


@pytest.mark.parametrize("language_model", ["qwen2", "llama"])
def test_trained_cut_off_resumed_and_asked(
    language_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIMO_HOME", str(tmp_path / "home"))
    bases, dataset, out = checkpoints(tmp_path, language_model), write_set(tmp_path / "set"), tmp_path / "out"
    save = Checkpoints.save

    def cut_off(self: Checkpoints, *values: Any) -> None:
        save(self, *values)
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save", cut_off)
    with pytest.raises((KeyboardInterrupt, RuntimeError)):
        train(out, dataset, bases, amp=True)
    monkeypatch.setattr(Checkpoints, "save", save)
    assert [file.name.split("-")[1] for file in (out / "checkpoints").glob("*.pt")] == ["00000001"]
    whole, steps = MimoTrainer._iteration, []

    def counted(self: MimoTrainer, engine: MimoTrainer, batches: list) -> dict[str, Any]:
        steps.append(engine.state.iteration)
        return whole(self, engine, batches)

    monkeypatch.setattr(MimoTrainer, "_iteration", counted)
    train(out, dataset, bases, amp=True)
    assert steps == [2]
    assert (out / "checkpoints" / "ended").exists()
    model = Mimo.from_pretrained(out / "weights")
    assert (model.config.preset, model.config.lora.rank) == ("base", 16)
    assert not any(p.requires_grad for p in model.image_encoder.parameters())
    assert not any(p.requires_grad for p in model.segmentation_encoder.parameters())
    assert (out / "weights" / "adapter" / "adapter_model.safetensors").exists()
    stored = {file.name for file in (out / "weights").iterdir()}
    assert (out / "weights" / "model.safetensors").stat().st_size < 4e6  # without the frozen models
    assert "training_data.json" in stored
    predictor = MimoPredictor.from_pretrained(out / "weights")
    predictor.set_image(np.full((48, 64, 3), 90, dtype=np.uint8))
    answer = predictor.ask("What lies in the box?", boxes=[(8, 8, 30, 30)])
    assert answer.model["preset"] == "base"


def test_its_language_model_keeps_no_activations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe computes them again, and its gradients come to the adapters all the same."""
    seen: dict[str, Any] = {}

    def step(self: MimoTrainer, engine: MimoTrainer, batches: list) -> None:
        seen["checkpointing"] = engine.network.language_model.causal_lm.is_gradient_checkpointing
        raise KeyboardInterrupt

    monkeypatch.setattr(MimoTrainer, "_iteration", step)
    with pytest.raises((KeyboardInterrupt, RuntimeError)):
        train(tmp_path / "out", write_set(tmp_path / "set"), checkpoints(tmp_path, "qwen2"), feature_cache=False)
    assert seen == {"checkpointing": True}
    assert not (tmp_path / "out" / "features").exists()


def test_the_preset_has_the_published_sizes() -> None:
    """CLIP ViT-L/14's image tower, SAM's ViT-B and Qwen2.5-1.5B as their makers count them, in millions, and what LoRA adds."""
    from monai_mimo.data.tokenizer import placeholder_tokenizer

    with torch.device("meta"):
        model = Mimo(load_preset("base"), placeholder_tokenizer(151936))
    adapters = 28 * 16 * (1536 + 1536 + 1536 + 256) / 1e6  # q of 12 heads of 128, v of 2
    expected = {"image_encoder": (303.2, 0), "segmentation_encoder": (89.7, 0)}
    for part, millions in expected.items():
        assert [n / 1e6 for n in parameter_counts(getattr(model, part))] == pytest.approx(millions, abs=0.1), part
    everything, trained = parameter_counts(model.language_model)
    assert everything / 1e6 == pytest.approx(1543.7 + adapters, abs=0.1)
    assert trained / 1e6 == pytest.approx(adapters, abs=0.1)
