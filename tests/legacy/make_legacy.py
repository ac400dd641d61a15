"""How the small weights, built set and checkpoint in legacy.tar.xz were made: by the code of commit
8191eceb962a81fac6eb10b73e062e89996e40c5, before the package was rearranged.

    git worktree add ../before 8191ece && cd ../before && python THIS_FILE NEW_FOLDER

It is kept as a record and does not run with later code; what it made has to be read by all of it (`test_legacy`).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from monai_mimo.data.tokenizer import train_tokenizer
from monai_mimo.inference import MimoPredictor, PhraseNetwork
from monai_mimo.inference.domain import Domain
from monai_mimo.mimoseg import build, load_mimoseg
from monai_mimo.mimoseg.cases import SourceSpec
from monai_mimo.mimoseg.labelled import LabelledImage, write_labelled
from monai_mimo.mimoseg.rle import encode_rle
from monai_mimo.models import Mimo, load_preset
from monai_mimo.models.shipped import ship
from monai_mimo.models.temperature import save_temperature
from monai_mimo.models.weights import save_weights
from tests.legacy.make_inputs import CHANGES, FROZEN, NAMES, QUESTIONS, SPLITS, picture


def make_set(folder: Path, out: Path) -> None:
    images = []
    for number in range(3):
        pixels = picture(number)
        for name, values in (
            ("image", pixels),
            ("labels", (pixels[..., 0] == 220).astype(np.uint8) * (1 + number % 2)),
        ):
            Image.fromarray(values).save(folder / f"{name}{number}.png")
        names = {"left kidney": 1, "liver": 2}
        images.append(
            LabelledImage(folder / f"image{number}.png", folder / f"labels{number}.png", names, modality="CT")
        )
    source = SourceSpec("squares", write_labelled(images, folder / "source"))
    build([source], folder / "built", ratio="34:33:33", perspectives=(1, 2), progress=False)
    for split in ("train", "validation", "test"):
        shutil.copytree(folder / "built" / split, out / split)
    rows = [{**row, "image": np.asarray(row["image"]).tolist()} for s in SPLITS for row in load_mimoseg(out, s)]
    for row in rows:
        row["image"] = str(torch.tensor(row["image"]).sum().item())
    (out / "rows.json").write_text(json.dumps(rows, indent=None))


def make_weights(folder: Path, out: Path) -> None:
    torch.manual_seed(0)
    config = load_preset("nano", names=NAMES, **CHANGES)
    texts = ["Where is the left kidney?", "It is the <p> liver </p> <SEG>.", "What is at <point>? <box>"]
    model = Mimo(config, train_tokenizer(texts * 4, 300))
    for parameter in model.mask_decoder.fine.output.parameters():
        torch.nn.init.normal_(parameter, std=0.5)  # an untrained branch adds nothing
    with torch.no_grad():
        for parameter in model.parameters():  # few values, which can be compressed
            step = parameter.abs().max() / 7
            parameter.copy_((parameter / step.clamp(min=1e-9)).round() * step)
    save_weights(model, folder / "weights")
    width = 2 * (8 + 16)
    Domain.fit([torch.randn(60, width)], torch.randn(60, width)).save(folder / "weights")
    save_temperature(folder / "weights", 1.7, "nothing, by hand")
    ship(folder / "weights", out)
    predictor = MimoPredictor.from_pretrained(out)
    predictor.set_image(picture(9))
    given = []
    for question, prompts in QUESTIONS:
        answer = predictor.ask(question, **prompts, max_tokens=12)
        entities = [
            {"phrase": e.phrase, "mask": encode_rle(e.mask), "score": e.score, "span": e.span} for e in answer.entities
        ]
        given.append({"text": answer.text, "entities": entities, "warnings": answer.warnings})
    square = torch.from_numpy(np.asarray(Image.fromarray(picture(9)).resize((64, 64)))).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        logits = PhraseNetwork(predictor.model, "liver")(square)[0, 0]
    given.append({"text": "phrase: liver", "mask": encode_rle((logits > 0).numpy()), "mean": logits.mean().item()})
    (out / "answers.json").write_text(json.dumps(given, indent=1))


def make_checkpoint(dataset: Path, out: Path) -> None:
    """Of a run of six steps that was ended after three."""
    command = [sys.executable, "-m", "monai.bundle", "run", "training", "--bundle_root", "bundles/mimo"]
    command += [
        "--config_file",
        "bundles/mimo/configs/train.yaml",
        "--preset",
        "nano",
        "--preset_changes",
        str(CHANGES),
    ]
    command += ["--frozen", str(FROZEN), "--epochs", "2", "--steps_per_epoch", "3", "--global_batch", "2"]
    command += ["--dataset_dir", str(dataset), "--output_dir", str(out / "run"), "--validation_images", "2"]
    subprocess.run(command, check=True)
    [first, _] = sorted((out / "run" / "checkpoints").glob("*.pt"))
    shutil.copy(first, out / first.name)
    history = json.loads((out / "run" / "history.json").read_text())
    (out / "history.json").write_text(json.dumps(history))
    shutil.rmtree(out / "run")


if __name__ == "__main__":
    root = Path(sys.argv[1])
    (root / "scratch").mkdir(parents=True)
    (root / "set").mkdir()
    (root / "checkpoint").mkdir()
    make_set(root / "scratch", root / "set")
    make_weights(root / "scratch", root / "weights")
    make_checkpoint(root / "set", root / "checkpoint")
    shutil.rmtree(root / "scratch")
    with tarfile.open(root / "legacy.tar.xz", "w:xz") as archive:
        for part in ("set", "weights", "checkpoint"):
            archive.add(root / part, part)
