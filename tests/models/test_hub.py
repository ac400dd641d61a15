"""The Hugging Face Hub, played by a recorder; and that no network gives one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
from PIL import Image

from monai_mimo.cli import main
from monai_mimo.errors import OutputError, WeightsError
from monai_mimo.inference import MimoPredictor
from monai_mimo.models import Mimo, hub

from ..conftest import make_nano


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
