"""What the server learns from saved labels, how it takes it up and goes back, which image it proposes, and scoring."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("monailabel")

from fastapi.testclient import TestClient
from PIL import Image

from monai_mimo.engines.fine_tune import FineTuned, Quality
from monai_mimo.errors import InputError, WeightsError
from monai_mimo.models import Mimo
from monai_mimo.models.weights import fingerprint, save_weights

from ..conftest import make_nano
from .conftest import BrightSpot, infer


def study(folder: Path, count: int = 4) -> Path:
    """Volumes with a bright cube, and one picture, named as patients would be."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        values = rng.integers(0, 100, (32, 30, 6)).astype(np.int16)
        values[4 + number : 16 + number, 6:18, 1:5] = 400
        nib.save(nib.Nifti1Image(values, np.diag([2.0, -2, 5, 1])), folder / f"Doe_{number}.nii.gz")
    picture = rng.integers(0, 100, (40, 48, 3)).astype(np.uint8)
    picture[5:20, 8:30] = 255
    Image.fromarray(picture).save(folder / "photo.png")
    return folder


def save(client: TestClient, image: str, labels: np.ndarray, tag: str = "final", **params: Any) -> None:
    """As a viewer saves: a label map on the voxels of the image."""
    file = io.BytesIO(nib.Nifti1Image(labels.astype(np.uint8), np.diag([2.0, -2, 5, 1])).to_bytes())
    response = client.put(
        "/datastore/label",
        params={"image": image, "tag": tag},
        data={"params": json.dumps(params)},
        files={"label": ("label.nii", file)},
    )
    assert response.status_code == 200, response.text


def cube(number: int) -> np.ndarray:
    labels = np.zeros((32, 30, 6))
    labels[4 + number : 16 + number, 6:18, 1:5] = 1
    return labels


def label_all(client: TestClient, count: int = 4) -> None:
    for number in range(count):
        save(client, f"Doe_{number}", cube(number), label_info=[{"name": "Liver", "idx": 1}], reviewer="Ada")


def train(client: TestClient, **options: Any) -> Any:
    return client.post("/train/mimo", params={"run_sync": True}, json={"steps": 3, "images_per_batch": 2, **options})


@pytest.fixture
def started(start: Callable[..., TestClient], nano_weights: Path, tmp_path: Path) -> TestClient:
    return start(study(tmp_path / "studies"), weights=str(nano_weights), versions=str(tmp_path / "versions"))


def test_training_by_http(
    started: TestClient, nano_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FineTuned, "better", property(lambda self: True))  # an untrained model grounds nothing
    label_all(started)
    picture = np.zeros((48, 40, 1))
    picture[8:30, 5:20] = 2
    save(started, "photo", picture, label_names={"polyp": 2})
    old = fingerprint(nano_weights)
    assert infer(started, "mimo_ask", "Doe_0", question="Where is it?", slice=2)["model"]["hash"] == old
    for left in (".work-x", ".tmp-x"):  # of a run that was killed
        (tmp_path / "versions" / old / left).mkdir(parents=True)
    response = train(started)
    assert response.status_code == 200, response.text
    assert not [p for p in (tmp_path / "versions" / old).iterdir() if p.name.startswith((".work-", ".0"))]
    stats = response.json()
    [version] = stats["versions"]
    assert (version["name"], version["parent"], version["images"]) == ("0001", "base", 5)
    assert stats["active"] == "0001"
    assert stats["epoch"] == stats["total_epochs"] == 3
    assert stats["best_metric"] == version["after"]["dice"]
    for number in (*version["before"].values(), *version["after"].values()):
        assert f"{number:.3f}" in version["summary"]
    new = fingerprint(tmp_path / "versions" / old / "0001")
    assert new != old
    assert infer(started, "mimo_ask", "Doe_0", question="Where is it?", slice=2)["model"]["hash"] == new
    info = started.get("/info/").json()
    assert info["model"]["hash"] == new
    assert info["train_stats"]["mimo"]["active"] == "0001"
    assert info["trainers"]["mimo"]["config"]["action"] == ["train", "roll back"]
    more = train(
        started, action=["train", "roll back"], parts="all but encoders", steps="2"
    ).json()  # as viewers may send it
    assert more["versions"][1]["parent"] == "0001"

    for expected in ("0001", "base"):
        assert train(started, action="roll back").json()["active"] == expected
    assert infer(started, "mimo_ask", "Doe_0", question="Where is it?", slice=2)["model"]["hash"] == old
    response = train(started, action="roll back")
    assert response.status_code == 400
    assert "first weights" in response.json()["detail"]
    assert "Doe" not in (tmp_path / "audit.jsonl").read_text()


def test_what_is_not_better_is_not_used(
    started: TestClient, nano_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FineTuned, "better", property(lambda self: False))
    label_all(started)
    stats = train(started).json()
    assert stats["active"] == "base"
    assert "not used" in stats["versions"][0]["summary"]
    about = started.get("/info/").json()["model"]
    assert (about["hash"], about["use"]) == (fingerprint(nano_weights), "unknown")


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0},
        {"steps": "many"},
        {"steps": 1.5},
        {"steps": None},
        {"learning_rate": 7},
        {"action": "delete"},
        {"parts": "image_encoder"},
    ],
)
def test_bad_options(started: TestClient, options: dict) -> None:
    label_all(started)
    response = train(started, **options)
    assert response.status_code == 400, response.text


def test_too_few_labels(started: TestClient) -> None:
    label_all(started, 2)
    response = train(started)
    assert response.status_code == 400
    assert "2 labelled patients" in response.json()["detail"]
    assert started.get("/info/").json()["train_stats"]["mimo"]["versions"] == []


def versions(tmp_path: Path, nano_weights: Path) -> Any:
    from lib.model import ModelStore
    from lib.versions import Versions

    store = ModelStore(nano_weights)
    return Versions(tmp_path / "versions", store), store


def learned(store: Any, after: float, before: float = 0.5) -> FineTuned:
    """A finished run."""
    folder = save_weights(make_nano(), store.root / store.next_name())
    return FineTuned(folder, Quality(before, before), Quality(after, after), 10, 5)


def test_a_version_from_another_process_is_taken_up(tmp_path: Path, nano_weights: Path) -> None:
    trainer, _ = versions(tmp_path, nano_weights)
    server, models = versions(tmp_path, nano_weights)
    server.sync()
    assert models.current().folder == nano_weights
    trainer.add("base", learned(trainer, 0.6), 3)
    server.sync()
    assert models.current().folder == trainer.folder("0001")
    trainer.add("0001", learned(trainer, 0.4), 3)
    server.sync()
    assert models.current().folder.name == "0001"
    trainer.add("base", learned(trainer, 0.9), 3)  # started from what is no longer in use
    assert server.active() == "0001"
    assert [v.accepted for v in server.all()] == [True, False, True]

    trainer.add("0001", damaged := learned(trainer, 0.8), 3)
    (damaged.folder / "model.safetensors").write_bytes(b"")
    server.sync()
    assert models.current().folder.name == "0001"  # the server goes on
    assert server.roll_back() == "0001"
    server.sync()
    assert models.current().folder.name == "0001"


def test_other_weights_have_their_own_versions(tmp_path: Path, nano_weights: Path) -> None:
    first, _ = versions(tmp_path, nano_weights)
    first.add("base", learned(first, 0.6), 3)
    model = Mimo.from_pretrained(nano_weights)
    model.phrase_of_seg.bias.data += 1
    second, models = versions(tmp_path, save_weights(model, tmp_path / "other"))
    second.sync()
    assert second.all() == []
    assert models.current().folder == tmp_path / "other"
    missing, _ = versions(tmp_path, tmp_path / "nowhere")
    missing.sync()
    with pytest.raises(WeightsError):
        missing.add("base", learned(first, 0.6), 3)


def test_a_damaged_table(tmp_path: Path, nano_weights: Path) -> None:
    store, models = versions(tmp_path, nano_weights)
    store.root.mkdir(parents=True)
    (store.root / "versions.json").write_text('{"active"')
    with pytest.raises(WeightsError, match=r"versions\.json"):
        store.all()
    store.sync()
    assert models.current().folder == nano_weights


def test_nobody_goes_back_from_the_first(tmp_path: Path, nano_weights: Path) -> None:
    store, _ = versions(tmp_path, nano_weights)
    with pytest.raises(InputError, match="first weights"):
        store.roll_back()


class Sure(BrightSpot):
    """Scores an image by its brightest region's area: the larger, the surer."""

    def ask_many(self, image: Any, questions: Any, **options: Any) -> Any:
        answers = super().ask_many(image, questions, **options)
        for answer in answers:
            for entity in answer.entities:
                entity.score = float(min(1.0, entity.mask.mean() * 4))
        return answers


def sample(client: TestClient, strategy: str) -> dict[str, Any]:
    response = client.post(f"/activelearning/{strategy}", json={})
    assert response.status_code == 200, response.text
    return response.json()


def test_which_image_is_next(start: Callable[..., TestClient], tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    studies.mkdir()
    sides = {"a": 28, "b": 12, "c": 16}
    for name, side in sides.items():
        values = np.zeros((40, 40), np.uint8)
        values[4 : 4 + side, 4 : 4 + side] = 255
        Image.fromarray(values).save(studies / f"{name}.png")
    client = start(studies, Sure())
    strategy = client.mimo._strategies["mimo_uncertainty"]  # type: ignore[attr-defined]
    strategy.engine.models = client.mimo.models  # type: ignore[attr-defined]
    assert sample(client, "first")["id"] == "a"
    assert sample(client, "random")["id"] in sides
    assert sample(client, "mimo_uncertainty")["id"] in sides
    strategy.wait()
    found = sample(client, "mimo_uncertainty")
    assert found["id"] == "b"  # the smallest, of which the stand-in is least sure
    assert found["uncertainty"] == pytest.approx(1 - 4 * 12**2 / 40**2, abs=1e-4)
    assert (found["looked_at"], found["of"]) == (3, 3)
    save(client, "b", np.ones((40, 40, 1)), label_names={"liver": 1})
    assert sample(client, "mimo_uncertainty")["id"] == "c"
    assert sample(client, "first")["id"] == "a"
    for name in "ac":
        save(client, name, np.ones((40, 40, 1)), label_names={"liver": 1})
    assert sample(client, "mimo_uncertainty") == sample(client, "first") == {}


def test_masks_that_do_not_hold_still_are_unsure(start: Callable[..., TestClient], tmp_path: Path) -> None:
    from lib.activelearning import clicks, uncertainty

    class Shaky(BrightSpot):
        """With a click, only the half of the spot that is left of it."""

        def ask_many(self, image: Any, questions: Any, **options: Any) -> Any:
            answers = super().ask_many(image, questions, **options)
            for answer, (_, points, _) in zip(answers, questions):
                for entity in answer.entities if points else []:
                    entity.mask = entity.mask & (np.arange(entity.mask.shape[1]) <= points[0][0])
            return answers

    studies = tmp_path / "studies"
    studies.mkdir()
    values = np.zeros((40, 40), np.uint8)
    values[10:30, 8:28] = 255
    Image.fromarray(values).save(studies / "a.png")
    at = clicks(values > 0)
    assert len(set(at)) == 4
    assert all(values[y, x] for x, y in at)
    client = start(studies, Shaky())
    app = client.mimo  # type: ignore[attr-defined]
    image = app.engine.open(studies / "a.png")
    found = uncertainty(app.engine, app.models.current(), image, ["liver"])
    expected = 1 - np.mean([(x - 8 + 1) / 20 for x, _ in at])
    assert found == pytest.approx(max(expected, 1 - 0.9))
    app.models.current().predictor.score = 0.1
    assert uncertainty(app.engine, app.models.current(), image, ["liver"]) == pytest.approx(0.9)


def test_scoring(start: Callable[..., TestClient], tmp_path: Path) -> None:
    client = start(study(tmp_path / "studies", 3), BrightSpot())
    half = cube(0)
    half[10:] = 0  # one half of the cube
    both = cube(1)
    both[20:24] = 2
    save(client, "Doe_0", cube(0), label_names={"liver": 1})
    save(client, "Doe_0", half, "original", params={"label_names": {"Liver": 1}}, label_names={"liver": 1})
    save(client, "Doe_1", both, label_names={"liver": 1, "spleen": 2})
    save(client, "Doe_1", cube(1), "original", label_names={"liver": 1})
    save(client, "Doe_2", cube(2), label_names={"liver": 1})
    results = {}
    for method in ("dice", "f1"):
        response = client.post(f"/scoring/{method}", params={"run_sync": True}, json={})
        assert response.status_code == 200, response.text
        results[method] = response.json()
    assert results["dice"] == pytest.approx({"Doe_0": 2 / 3, "Doe_1": 0.5})
    # IoU of a half is not above 0.5; of two structures one was found
    assert results["f1"] == pytest.approx({"Doe_0": 0.0, "Doe_1": 2 / 3})
    assert client.mimo.datastore().get_image_info("Doe_1")["dice"] == 0.5  # type: ignore[attr-defined]
