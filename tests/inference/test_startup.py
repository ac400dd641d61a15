"""Asking starts soon: what the import of `monai_mimo.inference`, and a question by `mimo ask`, bring along."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

OURS = {
    "calibration", "calibration.domain", "calibration.temperature", "data", "data.asking", "data.conversation",
    "data.feature_cache", "data.names", "data.prompt_maps", "data.tokenizer",
    "errors", "files", "inference", "inference.all_structures", "inference.answer", "inference.as_asked",
    "inference.encoded_image", "inference.encoded_volume", "inference.measured_values", "inference.prompts_alone",
    "inference.name_guard",
    "inference.phrase_network", "inference.predictor", "inference.question", "inference.second_look",
    "inference.safeguards", "inference.streaming", "inference.volume_answer", "inference.without_words", "lazy", "licences",
    "metrics", "metrics.calibration", "metrics.matching", "models",
    "models.bases", "models.checkpoint", "models.config", "models.default_weights", "models.generation",
    "models.image_encoder", "models.input_aligner", "models.language_model", "models.mask_decoder", "models.mimo",
    "models.outputs",
    "models.open_clip", "models.phrase_alignment", "models.preset", "models.pretrained",
    "models.prompt_encoder", "models.training_data",
    "models.region_names", "models.regions", "models.sam", "models.vision_tower", "models.weights", "transforms",
    # of the builder, what a row of a set and an answer have in common
    "mimoseg", "mimoseg.questions", "mimoseg.questions.templates", "mimoseg.encoding",
}  # fmt: skip
SLOW = {"monai", "ignite", "datasets", "matplotlib", "pandas", "sklearn", "peft", "skimage", "mlflow", "gradio", "ray"}
VOLUMES = {"nibabel", "pydicom", "gdcm", "SimpleITK", "itk"}
SHOW = "import sys; print(*sorted(sys.modules), sep='\\n')"


def modules(code: str) -> set[str]:
    """The modules that are there after some code."""
    done = subprocess.run([sys.executable, "-c", f"{code}\n{SHOW}"], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    return set(done.stdout.split())


def test_inference_imports_what_it_uses() -> None:
    found = modules("import monai_mimo.inference")
    ours = {name.removeprefix("monai_mimo.") for name in found if name.startswith("monai_mimo.")}
    assert {name for name in ours if not name.startswith("transforms.")} <= OURS
    assert not found & (SLOW | VOLUMES)


def test_a_question_is_answered_without_monai_and_matplotlib(nano_weights: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 40), 90, dtype=np.uint8)).save(tmp_path / "image.png")
    arguments = ["ask", str(tmp_path / "image.png"), "--question", "What is this?", "--weights", str(nano_weights)]
    found = modules(f"from monai_mimo.cli import main\nassert main({arguments!r}) == 0")
    assert not found & (SLOW | VOLUMES | {"scipy.ndimage"})
    assert not {name for name in found if name.startswith(("monai_mimo.engines", "monai_mimo.mimoseg.build"))}
