"""The bundle as its users run it: `python -m monai.bundle run training`, `evaluating`, `inferring`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

import monai_mimo
from monai_mimo.engines import load_sets
from monai_mimo.errors import InputError
from monai_mimo.inference import PhraseNetwork
from monai_mimo.mimoseg import build, load_mimoseg, parse_source
from monai_mimo.models import Mimo, load_preset
from monai_mimo.phantom import write_phantom

BUNDLE = Path(__file__).parents[2] / "bundles" / "mimo"


def run(run_id: str, configs: str | list[str], *arguments: object) -> subprocess.CompletedProcess:
    files = [str(BUNDLE / "configs" / name) for name in ([configs] if isinstance(configs, str) else configs)]
    command = [sys.executable, "-m", "monai.bundle", "run", run_id, "--bundle_root", str(BUNDLE)]
    command += ["--config_file", str(files), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_phantom(root / "phantom", patients=3, progress=False)
    build(
        [parse_source(f"phantom={root / 'phantom'}")],
        root / "built",
        slices_per_volume=2,
        perspectives=(1, 2),
        progress=False,
    )
    return root / "built"


@pytest.fixture(scope="module")
def trained(dataset: Path) -> Path:
    out = dataset.parent / "run"
    result = run(
        "training", "train.yaml", "--dataset_dir", dataset, "--output_dir", out, "--preset", "nano", "--epochs", 2,
        "--steps_per_epoch", 3, "--global_batch", 6, "--validation_images", 4,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    return out


def test_training_leaves_checkpoints_weights_and_curves(trained: Path) -> None:
    before, last = sorted((trained / "checkpoints").glob("*.pt"))
    assert "-00000003-" in before.name
    state = torch.load(last, weights_only=True)
    assert state["stage"] == "training"
    assert state["step"] == state["parts"]["engine"]["iteration"] == 6
    assert set(state["parts"]) == {"model", "optimizer", "scheduler", "history", "best", "engine"}
    model = Mimo.from_pretrained(trained / "weights")
    best = torch.load(before, weights_only=True)  # no later validation was better
    for name, tensor in best["parts"]["model"].items():
        assert torch.equal(model.state_dict()[name], tensor), name
    history = json.loads((trained / "history.json").read_text())
    assert len(history["text loss"]) == 6
    assert len(history["validation f1"]) == 2
    assert (trained / "curves.png").stat().st_size > 1000
    events = [p.read_bytes() for p in trained.glob("events.out.tfevents.*")]
    assert any(b"loss/total" in e and b"validation_dice/overall" in e for e in events)
    assert "training,6,loss/text," in (trained / "scalars.csv").read_text()
    assert any(b"validation/0" in e for e in events)


def test_evaluating_writes_table_predictions_and_panels(trained: Path, dataset: Path) -> None:
    out = trained / "evaluation"
    result = run(
        "evaluating",
        "evaluate.yaml",
        "--dataset_dir",
        dataset,
        "--weights_dir",
        trained / "weights",
        "--output_dir",
        out,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    metrics = json.loads((out / "metrics.json").read_text())
    rows = load_mimoseg(dataset, "test")
    assert metrics["overall"]["samples"] == len(rows)
    records = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert [r["id"] for r in records] == rows["id"]
    assert {p.stem for p in (out / "panels").iterdir()} == set(rows["modality"])
    assert "best, median, worst" in (out / "report.html").read_text()
    assert metrics["about"]["preset"] == "nano"
    assert "perspective II" in result.stdout + result.stderr


def test_inferring_prints_one_object(trained: Path, dataset: Path) -> None:
    image = dataset.parent / "image.png"
    load_mimoseg(dataset)[0]["image"].save(image)
    result = run(
        "inferring", "inference.yaml", "--weights_dir", trained / "weights", "--image", image,
        "--question", "What is this?", "--points", "[[5, 6, 1]]",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    answer = json.loads(result.stdout.strip().splitlines()[-1])
    assert answer["model"]["preset"] == "nano"


@pytest.mark.parametrize("config", ["train.yaml", "evaluate.yaml", "inference.yaml"])
def test_run_is_an_alias(config: str) -> None:
    named = {"train.yaml": "training", "evaluate.yaml": "evaluating", "inference.yaml": "inferring"}[config]
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / config))
    parser.resolve_macro_and_relative_ids()
    assert parser["run"] == parser[named]


def published(*files: str, **options: object) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config([str(BUNDLE / "configs" / name) for name in files])
    parser.update({"bundle_root": str(BUNDLE), **options})
    return parser


def test_stage_1_has_the_published_values() -> None:
    parser = published("train.yaml", "multi_gpu_train.yaml", preset="7b")
    values = {name: parser.get_parsed_content(name) for name in ("epochs", "learning_rate", "global_batch", "frozen")}
    assert values == {"epochs": 3, "learning_rate": 3e-4, "global_batch": 40, "frozen": []}
    assert parser.get_parsed_content("questions_per_image") == 1
    assert parser.get_parsed_content("balanced") is False
    config = parser.get_parsed_content("config")
    assert config.lora.alpha == 8
    assert config.image_encoder.frozen
    assert config.segmentation_encoder.frozen
    smaller = published("train.yaml", preset="7b", images_per_batch=1)
    assert smaller.get_parsed_content("global_batch") == 40  # by accumulation


def test_stage_2_goes_on_from_stage_1_without_masks(trained: Path, tmp_path: Path) -> None:
    """With values of `nano`; its questions are those of perspective 0, here of a second set, and the decoder stays."""
    from .small_set import write_set

    vqa = write_set(tmp_path / "vqa")
    result = run(
        "training", ["train.yaml", "finetune_vqa.yaml"], "--datasets", {"vqa": str(vqa)}, "--output_dir", tmp_path / "out",
        "--weights_dir", trained / "weights", "--validation_images", 2,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    before, after = (Mimo.from_pretrained(folder / "weights").state_dict() for folder in (trained, tmp_path / "out"))
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith("mask_decoder.")} <= same
    assert "input_aligner.queries" not in same
    [last] = (tmp_path / "out" / "checkpoints").glob("*.pt")
    state = torch.load(last, weights_only=True)
    assert state["step"] == 1  # one epoch of 3 images with two questions each
    assert state["identity"]["frozen"] == ["mask_decoder"]


def test_reviewers_network_check_passes(trained: Path) -> None:
    command = [sys.executable, "-m", "monai.bundle", "verify_net_in_out", "network_def"]
    command += ["--meta_file", str(BUNDLE / "configs" / "metadata.json")]
    command += ["--config_file", str(BUNDLE / "configs" / "inference.yaml")]
    command += ["--bundle_root", str(BUNDLE), "--weights_dir", str(trained / "weights"), "--phrase", "liver"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "verified with no error" in result.stdout + result.stderr


def test_metadata_fits_the_package() -> None:
    metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text())
    assert metadata["version"] == monai_mimo.__version__
    assert metadata["version"] in metadata["changelog"]
    required = {"schema", "monai_version", "pytorch_version", "numpy_version", "required_packages_version", "task"}
    assert required | {"description", "authors", "copyright", "network_data_format"} <= set(metadata)
    image = metadata["network_data_format"]["inputs"]["image"]
    assert image["spatial_shape"] == [load_preset("tiny").image_size] * 2


def test_phrase_network_gives_the_mask_of_its_phrase(trained: Path) -> None:
    model = Mimo.from_pretrained(trained / "weights")
    images = torch.rand(2, 3, 64, 64)
    out = PhraseNetwork(model, "liver")(images)
    assert out.shape == (2, 1, 32, 32)
    alone = PhraseNetwork(model, "liver")(images[1:])
    torch.testing.assert_close(out[1:], alone, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(out, PhraseNetwork(model, "spleen")(images))


def test_a_language_side_is_trained_on_an_image_side(tmp_path: Path) -> None:
    """As `make train-small` does, with sources that are left out."""
    write_phantom(tmp_path / "phantom", patients=3, progress=False)
    sources = [parse_source(f"{name}={tmp_path / 'phantom'}") for name in ("a", "b")]
    build(sources, tmp_path / "set", slices_per_volume=1, perspectives=(1,), progress=False)
    changes = {"mask_decoder": {"width": 32, "layers": 1, "heads": 2, "mlp_width": 32, "fine": [8, 8, 16, 16, 16]}}
    common = ("--preset", "nano", "--preset_changes", changes, "--dataset_dir", tmp_path / "set", "--global_batch", 4)
    result = run(
        "pretraining_alone", "train.yaml", *common, "--output_dir", tmp_path / "regions", "--language_steps", 0,
        "--region_minutes", 0.05, "--left_out", "['b']",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    result = run(
        "training", ["train.yaml", "on_regions.yaml"], *common, "--output_dir", tmp_path / "lite", "--language_steps", 2,
        "--regions", tmp_path / "regions" / "weights", "--epochs", 1, "--steps_per_epoch", 2, "--validation_images", 2,
        "--left_out", "['b']",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    image, whole = (Mimo.from_pretrained(tmp_path / name / "weights").state_dict() for name in ("regions", "lite"))
    for name, tensor in whole.items():
        stays = name.startswith(("image_encoder", "neck", "prompt_encoder", "region_names", "mask_decoder"))
        if stays and "text_projection" not in name:
            assert torch.equal(tensor, image[name]), name
    assert not all(torch.equal(t, image[n]) for n, t in whole.items() if n.startswith("language_model"))


def test_sources_that_are_left_out(dataset: Path) -> None:
    rows = load_sets({"all": str(dataset)}, "train")
    some = sorted(set(rows["source"]))[:1]
    assert not len(load_sets({"all": str(dataset)}, "train", left_out=some))
    with pytest.raises(InputError, match="left_out: found liver; expected sources of the set: phantom"):
        load_sets({"all": str(dataset)}, "train", left_out=["liver"])
