"""The Hugging Face Hub, played by a recorder: what goes there, with its card; and that no network gives one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
from PIL import Image

from monai_mimo.cli import main
from monai_mimo.errors import OutputError, WeightsError
from monai_mimo.inference import MimoPredictor
from monai_mimo.models import Mimo, hub
from monai_mimo.models.default_weights import SHIPPED
from monai_mimo.models.hub import CARD, without_places, write_hub_folder
from monai_mimo.models.training_data import TrainingData
from monai_mimo.models.weights import fingerprint

from ..conftest import make_nano
from .hub_server import HubServer


class Api:
    """Keeps what is uploaded in a folder."""

    def __init__(self, store: Path, error: Exception | None = None) -> None:
        self.store, self.error, self.private = store, error, None

    def __call__(self, token: str | None = None) -> Api:
        return self

    def create_repo(self, repository: str, *, private: bool, exist_ok: bool) -> None:
        if self.error is not None:
            raise self.error
        self.private = private

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> str:
        for file in folder_path.rglob("*"):
            if file.is_file():
                target = self.store / repo_id / file.relative_to(folder_path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.read_bytes())
        return f"https://huggingface.co/{repo_id}"


def test_pushed_and_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api(tmp_path)
    monkeypatch.setattr(hub, "HfApi", api)
    monkeypatch.setattr(hub, "snapshot_download", lambda repository: str(tmp_path / repository))
    model = make_nano()
    assert model.push_to_hub("clinic/mimo") == "https://huggingface.co/clinic/mimo"
    assert api.private  # unless it is said otherwise
    again = Mimo.from_pretrained("clinic/mimo")
    assert all((a == b).all() for a, b in zip(model.state_dict().values(), again.state_dict().values()))
    predictor = MimoPredictor.from_pretrained("clinic/mimo")
    assert predictor.model_info["weights"].startswith("clinic/mimo@")
    assert predictor.push_to_hub("clinic/again") == "https://huggingface.co/clinic/again"
    assert 'from_pretrained("clinic/again")' in (tmp_path / "clinic" / "again" / CARD).read_text()
    with pytest.raises(WeightsError, match="without a folder"):
        MimoPredictor(model).push_to_hub("clinic/again")
    Image.fromarray(np.full((40, 40), 90, dtype=np.uint8)).save(tmp_path / "image.png")
    asked = ["ask", str(tmp_path / "image.png"), "--question", "What is this?", "--json", "--weights", "clinic/mimo"]
    assert main(asked) == 0


OFFLINE: list[Exception] = [
    hub.TransportError("no route"),
    OfflineModeIsEnabled("offline"),
    LocalEntryNotFoundError("nothing in the cache"),
]


@pytest.mark.parametrize("error", OFFLINE, ids=lambda error: type(error).__name__)
def test_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(hub, "HfApi", Api(tmp_path, error))
    with pytest.raises(OutputError, match=r"no connection.*save_pretrained") as found:
        make_nano().push_to_hub("clinic/mimo")
    assert "\n" not in str(found.value)

    def fail(repository: str) -> Any:
        raise error

    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(WeightsError, match="Hub cannot be asked"):
        Mimo.from_pretrained("clinic/mimo")


def test_nothing_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real client, at an address that refuses."""
    monkeypatch.setattr(hub, "HfApi", lambda token: hub_client(token))
    with pytest.raises(OutputError, match="no connection"):
        make_nano().push_to_hub("clinic/mimo", token="hf_none")


def hub_client(token: str | None) -> Any:
    from huggingface_hub import HfApi

    return HfApi(endpoint="http://127.0.0.1:9", token=token)


FIGURE = {"value": 0.8290522, "low": 0.8, "high": 0.85, "questions": 480, "patients": 40}


def measured(weights: Path) -> dict:
    entries = {"by name (I)": FIGURE, "box (II)": {**FIGURE, "value": float("nan")}}
    every = {"F1, perspective I": FIGURE, "phrase accuracy": FIGURE}
    return {"weights": f"lite@{fingerprint(weights)}", "dice": {"ct_liver": entries}, "all": every}


def test_the_card_has_the_header_that_the_hub_reads(tmp_path: Path) -> None:
    weights = SHIPPED / "lite"
    folder = write_hub_folder(weights, tmp_path / "out", {"license": "cc-by-nc-4.0", "measured": measured(weights)})
    text = (folder / CARD).read_text()
    header = yaml.safe_load(text.split("---")[1])
    assert header["license"] == "cc-by-nc-4.0"
    assert header["library_name"] == "monai-mimo"
    assert header["pipeline_tag"] == "image-text-to-text"
    assert header["datasets"] == sorted(TrainingData.load(weights).sets)
    assert "together:\nunknown." in text
    assert "- kidney_mr_t2: CC BY 4.0\n" in text
    assert header["base_model"] == ["timm/tf_efficientnet_lite0.in1k"]
    results = ModelCard(text).data.eval_results  # as the Hub's own library reads it back
    assert results is not None
    assert [(r.dataset_name, r.metric_type, r.metric_value) for r in results] == [
        ("ct_liver", "dice", 0.8291),
        ("all sets", "f1", 0.8291),
        ("all sets", "accuracy", 0.8291),
    ]
    assert {p.relative_to(weights) for p in weights.rglob("*")} < {p.relative_to(folder) for p in folder.rglob("*")}
    other = shutil.copytree(weights, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    config["config"]["language_model"]["source"] = "smollm2-135m-instruct"
    (other / "config.json").write_text(json.dumps(config))
    base = yaml.safe_load((write_hub_folder(other, tmp_path / "small") / CARD).read_text().split("---")[1])
    assert "HuggingFaceTB/SmolLM2-135M-Instruct" in base["base_model"]
    assert base["license"] == "other"


def test_figures_of_other_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="that were measured"):
        write_hub_folder(SHIPPED / "lite", tmp_path / "out", {"measured": measured(SHIPPED / "lite-permissive")})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"source": "/home/jane/models/vicuna-7b-v1.5"}, {"source": "vicuna-7b-v1.5"}),
        ({"a": [{"file": "C:\\Users\\jane\\sam.pth"}]}, {"a": [{"file": "sam.pth"}]}),
        ({"x": "~/data/clip/"}, {"x": "clip"}),
        ({"base_model_name_or_path": "models/llama"}, {"base_model_name_or_path": "llama"}),
        (
            {"source": "smollm2-135m-instruct", "n": 3, "x": None},
            {"source": "smollm2-135m-instruct", "n": 3, "x": None},
        ),
        (
            {"text": "chest / abdomen", "token": "/", "tag": "</p>"},
            {"text": "chest / abdomen", "token": "/", "tag": "</p>"},
        ),
    ],
)
def test_paths_are_taken_down_to_their_last_name(value: object, expected: object) -> None:
    assert without_places(value) == expected


PUSH = """
import sys
from monai_mimo.inference import MimoPredictor
from monai_mimo.models import Mimo
weights, folder = sys.argv[1:]
print(Mimo.from_pretrained(weights).push_to_hub("clinic/mimo", token="hf_test"))
print(MimoPredictor.from_pretrained(folder).push_to_hub("clinic/lite", token="hf_test"))
"""
ASK = """
import sys
import numpy as np
from monai_mimo.errors import WeightsError
from monai_mimo.inference import MimoPredictor
image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
answers = []
for weights in ("clinic/lite", sys.argv[1]):
    predictor = MimoPredictor.from_pretrained(weights)
    predictor.set_image(image)
    answers.append((predictor.ask("Where is the lung?").text, predictor.temperature))
assert answers[0] == answers[1] and answers[0][1] is not None, answers
MimoPredictor.from_pretrained("clinic/mimo")
try:
    MimoPredictor.from_pretrained("clinic/none")
except WeightsError as error:
    print(error)
"""


def test_both_ways_through_the_real_client(tmp_path: Path, nano_weights: Path) -> None:
    """A machine that pushes, and another that asks with what it fetched."""
    with HubServer() as hub:
        said = {}
        for machine, code, words in (
            ("jane", PUSH, [nano_weights, SHIPPED / "lite"]),
            ("john", ASK, [SHIPPED / "lite"]),
        ):
            home = tmp_path / machine
            environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(home), "MIMO_HOME": str(home)}
            environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
            environment.pop("HF_HUB_OFFLINE", None)
            command = [sys.executable, "-c", code, *map(str, words)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, done.stderr[-3000:]
            said[machine] = done.stdout
    assert f"{hub.url}/clinic/mimo" in said["jane"]
    assert "no such repository" in said["john"]
    assert hub.private == {"clinic/mimo": True, "clinic/lite": True}
    assert hub.tokens == {"Bearer hf_test"}
    files = hub.files["clinic/lite"]
    assert {CARD, "config.json", "model.safetensors", "calibration.json", "tokenizer/tokenizer.json"} <= set(files)
    assert json.loads(files["config.json"])["config"]["preset"] == "lite"
    for place in (str(tmp_path), str(nano_weights), str(Path.home()), str(SHIPPED)):
        for content in (c for repository in hub.files.values() for c in repository.values()):
            assert place.encode() not in content
