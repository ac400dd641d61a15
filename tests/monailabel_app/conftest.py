"""The app behind MONAI Label's real server, with a stand-in for the model where geometry or limits are under test."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_mimo.inference import Answer, Entity
from monai_mimo.inference.volume_answer import VolumeAnswer, VolumeEntity
from monai_mimo.transforms import MedicalImage

INSTALLED = find_spec("monailabel") is not None
collect_ignore_glob = [] if INSTALLED else ["test_*.py"]  # tests/conftest.py says so at the head of the report
APP = Path(__file__).parents[2] / "monailabel_app"
sys.path.insert(0, str(APP))

if INSTALLED:
    from fastapi.testclient import TestClient
    from monailabel.config import settings
    from requests_toolbelt import MultipartDecoder


class Pixels:
    """What the stand-in keeps of an image: its pixels."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels, self.nbytes = pixels, pixels.nbytes


class BrightSpot:
    """A model that finds the brightest pixels, if a prompt lies on one of them; without prompts it finds them always."""

    def __init__(self) -> None:
        self.encoded: list[int | None] = []
        self.score = 0.9

    def encode(self, image: MedicalImage, slice: int | None = None) -> Pixels:
        self.encoded.append(slice)
        return Pixels(image.slice(slice))

    def encode_volume(self, image: MedicalImage, memory: int = 0) -> BrightVolume:
        return BrightVolume(image)

    def ask_about_volume(
        self,
        volume: BrightVolume,
        question: str = "",
        points: Sequence[Sequence[int]] = (),
        boxes: Sequence[Sequence[int]] = (),
        scribbles: np.ndarray | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> VolumeAnswer:
        image = volume.image
        bright = image.to_file_grid(
            {n: (image.slice(n)[..., 0] == 255).astype(np.uint8) for n in range(image.n_slices)}
        ).astype(bool)
        touched = bool(question) or any(bright[tuple(p[:3])] for p in points if p[3])
        touched |= any(bright[i0:i1, j0:j1, k0:k1].any() for i0, j0, k0, i1, j1, k1 in boxes)
        touched |= scribbles is not None and bright[scribbles == 1].any()
        if progress is not None:
            progress(image.n_slices, image.n_slices)
        text, entities = "There is nothing.", []
        if touched and bright.any():
            text, entities = "That is the liver.", [VolumeEntity("liver", (12, 17), bright, self.score)]
        return VolumeAnswer(text, entities, image.size, shape=image.shape, plane=image.plane)

    def ask_many(self, image: Pixels, questions: Sequence[tuple], **options: Any) -> list[Answer]:
        bright = image.pixels[..., 0] == 255
        answers = []
        for _, points, boxes, *rest in questions:
            inside, outside = rest[0] if rest else (None, None)
            touched = not points and not boxes and inside is None and outside is None
            touched |= any(bright[y, x] for x, y, label in points if label == 1)
            touched |= any(bright[y0:y1, x0:x1].any() for x0, y0, x1, y1 in boxes)
            touched |= inside is not None and bright[inside].any()
            text, entities = "There is nothing.", []
            if touched and bright.any():
                text, entities = "That is the liver.", [Entity("liver", (12, 17), bright, self.score)]
            answers.append(Answer(text, entities, bright.shape))
        return answers


class BrightVolume:
    """What `BrightSpot` keeps of a volume."""

    def __init__(self, image: MedicalImage) -> None:
        self.image, self.forgotten = image, False

    def forget(self) -> None:
        self.forgotten = True


class StandInStore:
    """In place of `ModelStore`."""

    def __init__(self, predictor: Any) -> None:
        from lib.model import Model

        self.model = Model(predictor, Path("stand-in"), "0" * 12, ("liver", "spleen"))
        preset = type("Preset", (), {"preset": "stand-in"})
        predictor.model = type("Config", (), {"config": preset, "training_data": None})

    def current(self) -> Any:
        return self.model

    peek = current


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., TestClient]]:
    """start(studies, predictor=..., **conf) -> a client of the server; without a predictor, `conf` has the weights."""
    with starting(tmp_path, monkeypatch) as begin:
        yield begin


@contextmanager
def starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., TestClient]]:
    """`start`, for fixtures that hold for longer than a test."""
    from monailabel.interfaces.utils.app import app_instance, clear_cache

    apps: list[Any] = []

    def begin(studies: Path | str, predictor: Any = None, **conf: str) -> TestClient:
        clear_cache()
        monkeypatch.setattr(settings, "MONAI_LABEL_APP_DIR", str(APP))
        monkeypatch.setattr(settings, "MONAI_LABEL_STUDIES", str(studies))
        monkeypatch.setattr(settings, "MONAI_LABEL_SESSION_PATH", str(tmp_path / "sessions"))
        monkeypatch.setattr(settings, "MONAI_LABEL_DATASTORE_AUTO_RELOAD", False)
        monkeypatch.setattr(settings, "MONAI_LABEL_APP_CONF", {"audit": str(tmp_path / "audit.jsonl"), **conf})
        monkeypatch.setattr(sys, "argv", ["monailabel", "start_server", "--host", "127.0.0.1"])
        app = app_instance()
        apps.append(app)
        if predictor is not None:
            app.models = app.engine.models = StandInStore(predictor)
        from monailabel.app import app as server

        client = TestClient(server, raise_server_exceptions=False)
        client.mimo = app  # type: ignore[attr-defined]
        return client

    yield begin
    for app in apps:
        app.engine.close()
    clear_cache()


@contextmanager
def serving() -> Iterator[str]:
    """The address of the server, on a port of its own, for clients that are no part of this process."""
    import uvicorn
    from monailabel.app import app

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


def oblique_affine() -> np.ndarray:
    """Anisotropic, flipped and turned: nothing that could be mixed up looks right by chance."""
    a, b = np.radians([12, -8])
    around_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    around_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = around_x @ around_z @ np.diag([-1.5, 1.2, 4.0])
    affine[:3, 3] = (40, -30, 55)
    return affine


def infer(client: TestClient, task: str, image: str, output: str = "json", **params: Any) -> Any:
    """The reply of a task that must work: JSON, the bytes of the label map, or both."""
    response = client.post(
        f"/infer/{task}", params={"image": image, "output": output}, data={"params": json.dumps(params)}
    )
    assert response.status_code == 200, response.text
    if output == "all":
        return both_parts(response)
    return response.json() if output == "json" else response.content


def both_parts(response: Any) -> tuple[Any, bytes]:
    """The JSON and the file of a multipart reply."""
    said, label = MultipartDecoder(response.content, response.headers["content-type"]).parts
    return json.loads(said.content), label.content
