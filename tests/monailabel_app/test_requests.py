"""What the server refuses, with which status, and what it writes down."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from ..conftest import make_nano
from .conftest import BrightSpot, infer

SPOT = [3, 4, 2]


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    folder = tmp_path / "studies"
    folder.mkdir()
    values = np.full((8, 9, 5), -500, dtype=np.int16)
    values[tuple(SPOT)] = 1000
    nib.save(nib.Nifti1Image(values, np.diag([1, 1, 4, 1])), folder / "case.nii.gz")
    return folder


def post(client: Any, task: str = "mimo_click", image: str = "case", **params: Any) -> Any:
    return client.post(f"/infer/{task}", params={"image": image}, data={"params": json.dumps(params)})


@pytest.mark.parametrize(
    ("params", "status", "said"),
    [
        ({"foreground": [SPOT] * 65}, 400, "at most 64 (max_points)"),
        ({"foreground": [[8, 0, 0]]}, 400, "i in 0..7"),
        ({"foreground": [[-1, 0, 0]]}, 400, "i in 0..7"),
        ({"foreground": [[float("nan"), 0, 0]]}, 400, "whole numbers"),
        ({"foreground": [[1e300, 0, 0]]}, 400, "whole numbers"),
        ({"roi": [0, 0, 0, 0, 0, 10**400]}, 400, "whole numbers"),
        ({"foreground": "everywhere"}, 400, "a list of voxels"),
        ({"foreground": [[1, 2]]}, 400, "a slice"),
        ({"foreground": [[True, 0, 0]]}, 400, "whole numbers"),
        ({"background": [SPOT]}, 400, "a positive point nor a box"),
        ({"background_scribble": [SPOT]}, 400, "a positive point nor a box"),
        ({"foreground_scribble": [[0, 9, 0]]}, 400, "j in 0..8"),
        ({"foreground_scribble": [SPOT, "x"]}, 400, "voxels [i, j, k]"),
        ({"foreground_scribble": [[1, 2]]}, 400, "a slice"),
        ({"bbox": [0, 0, 1, 1], "slice": [0, 0]}, 400, "a voxel [i, j, k] in it"),
        ({"bbox": [3, 3, 3, 5]}, 400, "an area"),
        ({"bbox": [0, 0, 99, 99], "slice": 0}, 400, "i in 0..7"),
        ({"roi": [1, 2, 3]}, 400, "[i0, i1, j0, j1, k0, k1]"),
        ({"slice": 5, "bbox": [0, 0, 2, 2]}, 400, "k in 0..4"),
        ({"foreground": [SPOT], "plane": "oblique"}, 400, "axial"),
        ({"foreground": [SPOT], "result_extension": "/../../x.nrrd"}, 400, ".nrrd"),
        ({"foreground": [SPOT], "result_extension": ".png"}, 400, ".nrrd"),
        ({}, 400, "neither a positive point"),
    ],
)
def test_bad_prompts(start: Callable[..., Any], studies: Path, params: dict, status: int, said: str) -> None:
    response = post(start(studies, BrightSpot()), **params)
    assert response.status_code == status
    assert said in response.json()["detail"]


def test_bad_questions(start: Callable[..., Any], studies: Path) -> None:
    client = start(studies, BrightSpot(), max_question="20", max_labels="2", max_params_kb="1")
    for task, params, status in (
        ("mimo_ask", {}, 400),
        ("mimo_ask", {"question": "x" * 21}, 400),
        ("mimo_ask", {"question": 7}, 400),
        ("mimo_ask", {"question": "What?", "slice": 5}, 400),
        ("mimo_segment", {"label": ["a", "b", "c"]}, 400),
        ("mimo_segment", {"label": 3}, 400),
        ("mimo_nothing", {}, 400),
        ("mimo_ask", {"question": "x" * 2000}, 413),
    ):
        assert post(client, task, **params).status_code == status, params
    for text, status in (("{", 400), ("[]", 400), ("7", 400), ("", 400), ("[" * 100000, 413), ("[" * 1000, 400)):
        response = client.post("/infer/mimo_ask", params={"image": "case"}, data={"params": text})
        assert response.status_code == status, text[:10]


def test_an_image_is_one_of_the_studies(start: Callable[..., Any], studies: Path, tmp_path: Path) -> None:
    """Nothing outside the folder, by any spelling, and not through a link; its own path is fine."""
    outside = tmp_path / "outside.nii.gz"
    outside.write_bytes((studies / "case.nii.gz").read_bytes())
    os.symlink(outside, studies / "link.nii.gz")
    client = start(studies, BrightSpot())
    for image in (
        str(outside),
        "../outside.nii.gz",
        "../outside",
        f"{studies}/../outside.nii.gz",
        "link",
        "/etc/passwd",
        "nobody",
        "case\0",
        "a" * 5000,
    ):
        response = post(client, image=image, foreground=[SPOT])
        assert response.status_code == 404, image
        assert str(tmp_path) not in response.json()["detail"].replace(image[:80], "")
    assert post(client, image="", foreground=[SPOT]).status_code == 400
    assert post(client, image=str(studies / "case.nii.gz"), foreground=[SPOT]).status_code == 200
    # nor by a parameter that would stand in for it
    sly = {"foreground": [SPOT], "image": str(outside), "model": "other", "session": {"image": str(outside)}}
    response = client.post("/infer/mimo_click", params={"image": "case"}, data={"params": json.dumps(sly)})
    assert response.status_code == 200
    for path in ("/infer/wsi/mimo_ask", "/infer/wsi_v2/mimo_ask"):
        assert client.post(path, params={"image": str(outside)}, json={}).status_code == 404


def test_size_limits(start: Callable[..., Any], studies: Path, tmp_path: Path) -> None:
    client = start(studies, BrightSpot(), max_voxels="300")
    response = post(client, foreground=[SPOT])
    assert response.status_code == 400
    assert "at most 300 (max_voxels)" in response.json()["detail"]

    client = start(studies, BrightSpot(), max_request_mb="1")
    body = b"x" * (2 << 20)
    files = {"file": ("a.nii.gz", body)}
    assert client.post("/infer/mimo_ask", files=files).status_code == 413
    chunks = (body[n : n + 65536] for n in range(0, len(body), 65536))  # no length is told
    headers = {"content-type": "multipart/form-data; boundary=b"}
    assert client.post("/infer/mimo_ask", content=chunks, headers=headers).status_code == 413


def test_an_uploaded_image(start: Callable[..., Any], studies: Path) -> None:
    """It is answered, and is gone afterwards."""
    client = start(studies, BrightSpot())
    files = {"file": ("../../mine.nii.gz", (studies / "case.nii.gz").read_bytes())}
    response = client.post(
        "/infer/mimo_click", params={"output": "json"}, files=files, data={"params": json.dumps({"foreground": [SPOT]})}
    )
    assert response.status_code == 200, response.text
    assert response.json()["entities"][0]["box"] == [3, 4, 2, 4, 5, 3]
    assert list(client.mimo.uploads.iterdir()) == []


def test_names_of_labels_and_images_are_no_paths(start: Callable[..., Any], studies: Path, tmp_path: Path) -> None:
    client = start(studies, BrightSpot())
    label = infer(client, "mimo_click", "case", "image", foreground=[SPOT], result_extension=".nrrd")
    before = sorted(tmp_path.rglob("*"))
    for tag in ("../../x", "/tmp/x", "..", "a/b", ""):
        response = client.put(
            "/datastore/label", params={"image": "case", "tag": tag}, files={"label": ("l.nrrd", label)}
        )
        assert response.status_code == (200 if tag == "" else 400), tag
    for image in ("../x", "a/b", "/tmp/x", ".."):
        response = client.put("/datastore/image", params={"image": image}, files={"file": ("l.nrrd", label)})
        assert response.status_code == 400, image
    response = client.put("/datastore/label", params={"image": "case"}, files={"label": ("l.exe", label)})
    assert response.status_code == 400
    assert client.put("/datastore/label", params={"image": "x"}, files={"label": ("l.nrrd", label)}).status_code == 404
    new = {str(p.relative_to(studies)) for p in set(tmp_path.rglob("*")) - set(before)}
    assert {n for n in new if "audit" not in n} == {"labels/final/case.nrrd"}


def test_an_image_is_added_once_and_whole(start: Callable[..., Any], studies: Path) -> None:
    client = start(studies, BrightSpot())
    good = (studies / "case.nii.gz").read_bytes()
    for name, data, status in (("new", good, 200), ("new", good, 409), ("case", good, 409), ("bad", b"x", 400)):
        response = client.put("/datastore/image", params={"image": name}, files={"file": ("i.nii.gz", data)})
        assert response.status_code == status, (name, response.text)
    assert sorted(client.mimo.datastore().list_images()) == ["case", "new"]
    assert infer(client, "mimo_click", "new", foreground=[SPOT])["entities"]


def test_a_model_never_saves_as_final(start: Callable[..., Any], studies: Path) -> None:
    client = start(studies, BrightSpot())
    assert post(client, foreground=[SPOT], save_label=True, label_tag="final").status_code == 200
    objects = client.get("/datastore/", params={"output": "all"}).json()["objects"]
    assert list(objects["case"]["labels"]) == ["original"]


def test_thresholds(start: Callable[..., Any], studies: Path) -> None:
    """Below one limit a phrase is marked; below the other it is withheld, and its mask with it."""
    model = BrightSpot()
    client = start(studies, model, uncertain="0.8", withhold="0.4")
    for score, status in ((0.9, "shown"), (0.6, "uncertain"), (0.1, None)):
        model.score = score
        said = infer(client, "mimo_ask", "case", question="What?", slice=2)
        assert [e["status"] for e in said["entities"]] == ([status] if status else [])
        assert said["notice"].startswith("Research use only")
        if status is None:
            assert said["answer"] == "That is the [withheld]."
            assert said["withheld"] == [{"span": [12, 22], "score": 0.1}]
            assert any("withheld" in w for w in said["warnings"])
            assert said["label_names"] == {}


def test_advice(start: Callable[..., Any], studies: Path) -> None:
    client = start(studies, BrightSpot())
    plain = infer(client, "mimo_ask", "case", question="Where is the liver?", slice=2)["notice"]
    assert len(infer(client, "mimo_ask", "case", question="Is it malignant?", slice=2)["notice"]) > len(plain)


def test_audit(start: Callable[..., Any], studies: Path, tmp_path: Path) -> None:
    """A line for each request and decision, without the id of the study, names, or what was typed about a person."""
    client = start(studies, BrightSpot())
    infer(client, "mimo_ask", "case", question="Where is the liver of John Smith, born 1970?", slice=2)
    post(client, foreground=[[99, 0, 0]])
    label = infer(client, "mimo_click", "case", "image", foreground=[SPOT], result_extension=".nrrd")
    saved = {"label_names": {"liver": 1}, "reviewer": "Dr. Who"}
    response = client.put(
        "/datastore/label",
        params={"image": "case"},
        files={"label": ("l.nrrd", label)},
        data={"params": json.dumps(saved)},
    )
    assert response.status_code == 200
    decision = {"image": "case", "phrase": "liver", "score": 0.9, "decision": "reject", "reviewer": "Dr. Who"}
    assert client.post("/decision", json=decision).status_code == 200
    assert client.post("/decision", json={"decision": "maybe"}).status_code == 400
    text = (tmp_path / "audit.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["task"], line["decision"]) for line in lines] == [
        ("mimo_ask", "answered"),
        ("mimo_click", "refused (400)"),
        ("mimo_click", "answered"),
        ("save", "saved as final"),
        ("phrase", "reject"),
    ]
    assert lines[0]["prompt"]["question"] == "Where is the liver of [...] [...], [...] [...]?"
    assert lines[0]["model"] == "0" * 12
    assert lines[0]["statuses"] == ["shown"]
    assert lines[3]["reviewer"] == lines[4]["reviewer"]
    assert len({line["study"] for line in lines}) == 1
    for secret in ("case", "John", "Smith", "1970", "Who", str(tmp_path)):
        assert secret not in text
    assert os.stat(tmp_path / "audit.key").st_mode & 0o077 == 0


def test_no_weights(start: Callable[..., Any], studies: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The server starts, says what is missing in one line, and answers 503 until it comes."""
    client = start(studies, weights=str(tmp_path / "none"))
    assert [r.message for r in caplog.records if "no answers yet" in r.message] == [
        f"no answers yet: {tmp_path / 'none'}: found no weights; expected `make train` to have run, or --conf weights DIR"
    ]
    assert client.get("/info/").json()["model"] is None
    response = post(client, foreground=[SPOT])
    assert response.status_code == 503
    assert "make train" in response.json()["detail"]


def test_weights_that_come_later(start: Callable[..., Any], studies: Path, tmp_path: Path, nano_weights: Path) -> None:
    client = start(studies, weights=str(tmp_path / "later"))
    assert post(client, foreground=[SPOT]).status_code == 503
    os.symlink(nano_weights, tmp_path / "later")
    said = infer(client, "mimo_ask", "case", question="Where is the liver?", slice=2)
    assert said["model"]["name"] == "MIMO nano"
    assert len(said["model"]["hash"]) == 12


def test_a_scribble_reaches_the_weights(
    start: Callable[..., Any], studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real predictor whose weights read scribbles gets the painted pixels, as they lie on the slice that it is shown."""
    from monai_mimo.inference import MimoPredictor
    from monai_mimo.models.weights import save_weights
    from monai_mimo.transforms import MedicalImage

    fine = {"width": 32, "layers": 2, "heads": 2, "mlp_width": 64, "fine": (8, 8, 16, 16, 16)}
    weights = save_weights(make_nano(mask_decoder=fine, names={"liver": ()}), tmp_path / "fine")
    painted = [[i, 4, 2] for i in range(2, 6)]
    mask = np.zeros((8, 9, 5), np.uint8)
    mask[tuple(np.transpose(painted))] = 1
    shown = MedicalImage.open(studies / "case.nii.gz").to_display(mask) > 0
    asked, ask_many = [], MimoPredictor.ask_many

    def noted(self: Any, image: Any, questions: Any, **options: Any) -> Any:
        asked.extend(questions)
        return ask_many(self, image, questions, **options)

    monkeypatch.setattr(MimoPredictor, "ask_many", noted)
    said = infer(start(studies, weights=str(weights)), "mimo_ask", "case", foreground_scribble=painted)
    [question] = asked
    np.testing.assert_array_equal(question.scribbles[0], shown[2])
    assert shown[2].sum() == 4
    assert question.scribbles[1] is None
    assert said["image"]["slice"] == 2


def test_weights_that_read_no_scribbles_say_so(start: Callable[..., Any], studies: Path, nano_weights: Path) -> None:
    response = post(start(studies, weights=str(nano_weights)), "mimo_ask", foreground_scribble=[SPOT])
    assert response.status_code == 400
    assert "expected points and boxes" in response.json()["detail"]


def test_who_may_ask(caplog: pytest.LogCaptureFixture) -> None:
    """Without --host, MONAI Label listens on all addresses: then only this machine is served."""
    from lib.server import asked_host, check_exposure, is_local

    assert asked_host(["start_server", "--app", "x", "-i", "10.0.0.1", "--conf", "a", "b"]) == "10.0.0.1"
    assert asked_host(["start_server", "--host=127.0.0.1"]) == "127.0.0.1"
    assert asked_host(["start_server", "--app", "x"]) is None
    assert check_exposure(None, False)
    caplog.clear()
    assert not check_exposure("127.0.0.1", False)
    assert not check_exposure("localhost", False)
    assert not check_exposure("0.0.0.0", True)
    assert not caplog.records
    assert not check_exposure("0.0.0.0", False)
    assert "asks nobody to log in" in caplog.text
    assert is_local(("127.0.0.1", 1))
    assert is_local(("::1", 1))
    assert not is_local(("192.168.1.2", 1))


def test_others_are_turned_away(start: Callable[..., Any], studies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastapi.testclient import TestClient

    from lib.server import install, is_local

    client = start(studies, BrightSpot())
    install(client.mimo, local_only=True)
    there = TestClient(client.app, client=("192.168.1.2", 5))
    assert is_local(("testclient", 1))
    assert there.get("/info/").status_code == 403
    assert client.get("/info/").status_code == 200
