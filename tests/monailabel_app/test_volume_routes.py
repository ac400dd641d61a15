"""Sessions about volumes over HTTP, with the shipped weights and a phantom; what sessions keep, and when they end."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import nrrd
import numpy as np
import pytest

from monai_mimo.inference import MimoPredictor, volume
from monai_mimo.inference.volume_answer import Structure
from monai_mimo.models.default_weights import SHIPPED

from .conftest import BrightSpot, StandInStore

SESSION = "annotator-1"
BALL = (12, 14, 5)  # its middle
AFFINE = np.diag([-1.5, 1.2, 4.0, 1.0])


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """A bright ball in voxels [i, j, k]."""
    studies = tmp_path / "studies"
    studies.mkdir()
    nib.save(nib.Nifti1Image(np.where(ball(), 1000, 100).astype(np.int16), AFFINE), studies / "case.nii.gz")
    nib.save(nib.Nifti1Image(np.where(ball(3), 1000, 100).astype(np.int16), AFFINE), studies / "other.nii.gz")
    return studies


def ball(radius: float = 6) -> np.ndarray:
    i, j, k = np.indices((24, 28, 10))
    return (i - BALL[0]) ** 2 + (j - BALL[1]) ** 2 + (3 * (k - BALL[2])) ** 2 <= radius**2


@pytest.fixture
def client(start: Callable[..., Any], case: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The server; what prompts show is the bright ball, so that what is tested is the way to it and back."""

    def shown(
        given: Any, prompts: Any, progress: Any = None, phrase: str | None = None
    ) -> tuple[Structure, np.ndarray]:
        frames = given.image.frames > 500
        held = all(frames[place] for place in volume.places(prompts, label=1))
        return Structure(phrase or "region", {}, {0: 0.75}), frames if held else np.zeros_like(frames)

    monkeypatch.setattr("monai_mimo.inference.volume_session.shown", shown)
    return start(case, weights=str(SHIPPED / "lite"))


def act(client: Any, action: str, session: str = SESSION, status: int = 200, **body: Any) -> Any:
    response = client.post(f"/volume/{action}", json={"session": session, "image": "case", **body})
    assert response.status_code == status, response.text
    return response.json()


def fetched(client: Any, number: str, session: str = SESSION) -> np.ndarray:
    response = client.get("/volume/mask", params={"session": session, "image": "case", "object": number})
    assert response.status_code == 200, response.text
    path = Path(client.mimo.uploads) / "mask.nrrd"
    path.write_bytes(response.content)
    values, header = nrrd.read(str(path))
    lps = np.diag([-1.0, -1, 1, 1]) @ AFFINE
    np.testing.assert_allclose(header["space directions"], lps[:3, :3].T)
    np.testing.assert_allclose(header["space origin"], lps[:3, 3])
    return values.astype(bool)


def patched(before: np.ndarray, change: dict[str, Any]) -> np.ndarray:
    """A mask after a change that was replied, as a viewer makes it."""
    (i0, j0, k0, i1, j1, k1), after = change["box"], before.copy()
    values = np.frombuffer(gzip.decompress(base64.b64decode(change["mask"])), np.uint8)
    after[i0:i1, j0:j1, k0:k1] = values.reshape((i1 - i0, j1 - j0, k1 - k0), order="F")
    return after


def test_a_session_of_clicks(client: Any) -> None:
    opened = act(client, "open")
    assert opened["continued"] is False
    assert opened["volume"]["shape"] == [24, 28, 10]
    assert "liver" in opened["names"]
    said = act(client, "prompt", foreground=[list(BALL)], phrase="liver")
    number = said["object"]
    mask = patched(np.zeros((24, 28, 10), dtype=bool), said["change"])
    assert np.array_equal(mask, ball())
    [one] = said["objects"]
    assert (one["phrase"], one["score"], one["from"], one["slices"], one["undo"]) == (
        "liver",
        0.75,
        "prompts",
        [3, 7],
        1,
    )
    assert one["box"] == [6, 8, 3, 19, 21, 8]
    assert one["volume_ml"] == pytest.approx(ball().sum() * 7.2 / 1000)

    clicked = act(client, "prompt", object=number, foreground=[[BALL[0] + 8, BALL[1], BALL[2]]])
    grown = patched(mask, clicked["change"])
    assert grown[BALL[0] + 8, BALL[1], BALL[2]]
    assert np.array_equal(fetched(client, number), grown)
    scribbled = act(client, "prompt", object=number, background_scribble=[[i, BALL[1], BALL[2]] for i in range(7, 10)])
    less = patched(grown, scribbled["change"])
    assert not less[7:10, BALL[1], BALL[2]].any()
    assert [p["id"] for p in scribbled["objects"][0]["prompts"]] == [1, 2, 3]

    back = act(client, "undo", object=number)
    assert np.array_equal(patched(less, back["change"]), grown)
    act(client, "redo", object=number)
    assert np.array_equal(fetched(client, number), less)
    act(client, "remove", object=number, prompt=2)  # as if that click had never been
    without = fetched(client, number)
    assert not without[BALL[0] + 8, BALL[1], BALL[2]]
    assert not without[7:10, BALL[1], BALL[2]].any()
    state = act(client, "reset", object=number)
    assert state["objects"][0]["voxels"] == 0
    act(client, "undo", object=number)
    assert np.array_equal(fetched(client, number), without)
    assert act(client, "delete", object=number)["objects"] == []
    lines = [json.loads(line) for line in client.mimo.audit.file.read_text().splitlines()]
    assert [line["task"] for line in lines][:3] == ["volume prompt"] * 3
    assert lines[0]["prompt"] == {"foreground": [list(BALL)]}


def test_two_annotators_do_not_meet(client: Any) -> None:
    for session in (SESSION, "annotator-2"):
        act(client, "open", session)
    act(client, "prompt", foreground=[list(BALL)])
    assert act(client, "list", "annotator-2")["objects"] == []
    assert len(act(client, "list")["objects"]) == 1
    assert act(client, "open")["continued"] is True
    act(client, "close")
    assert act(client, "open")["objects"] == []


def test_a_loaded_mask_is_refined_after_a_restart(client: Any, tmp_path: Path) -> None:
    said = act(client, "list", status=410)
    assert "restarted" in said["detail"]
    act(client, "open")
    nib.save(nib.Nifti1Image(ball(4).astype(np.uint8) * 2, AFFINE), tmp_path / "mine.nii.gz")
    response = client.post(
        "/volume/start",
        params={"session": SESSION, "image": "case"},
        data={"params": json.dumps({"phrase": "my finding", "value": 2})},
        files={"label": ("mine.nii.gz", (tmp_path / "mine.nii.gz").read_bytes())},
    )
    assert response.status_code == 200, response.text
    said = response.json()
    assert (said["objects"][0]["phrase"], said["objects"][0]["from"]) == ("my finding", "mask")
    assert np.array_equal(fetched(client, said["object"]), ball(4))
    changed = act(client, "prompt", object=said["object"], background=[[BALL[0] - 3, BALL[1], BALL[2]]])
    assert not patched(ball(4), changed["change"])[BALL[0] - 3, BALL[1], BALL[2]]
    act(client, "reset", object=said["object"])
    assert np.array_equal(fetched(client, said["object"]), ball(4))


def test_a_question_makes_objects(start: Callable[..., Any], case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = start(case, weights=str(SHIPPED / "lite"))
    stand_in = BrightSpot()

    def answered(self: MimoPredictor, *arguments: Any, **options: Any) -> Any:
        return stand_in.ask_about_volume(*arguments, **options)

    nib.save(nib.Nifti1Image(np.where(ball(), 255, 100).astype(np.uint8), AFFINE), case / "case.nii.gz")
    monkeypatch.setattr(MimoPredictor, "ask_about_volume", answered)
    act(client, "open")
    said = act(client, "ask", question="Where is the liver?")
    [entity] = said["entities"]
    assert said["answer"][slice(*entity["span"])] == "liver"
    assert np.array_equal(fetched(client, entity["object"]), ball())
    assert said["objects"][0]["from"] == "question"
    stand_in.score = 0.1
    said = act(client, "ask", question="Where is the liver?")
    assert (said["entities"], len(said["withheld"]), len(said["objects"])) == ([], 1, 1)
    progress = client.get("/volume/progress", params={"session": SESSION, "image": "case"}).json()
    assert progress == {"done": None, "of": None}


@pytest.mark.parametrize(
    ("action", "body", "status", "said"),
    [
        ("prompt", {"foreground": [[24, 0, 0]]}, 400, "24 x 28 x 10"),
        ("prompt", {"foreground": [[1, 1]]}, 400, "voxels [i, j, k]"),
        ("prompt", {"object": "9", "foreground": [[1, 1, 1]]}, 400, "object"),
        ("prompt", {"foreground": [[1, 1, 1]], "phrase": "no such thing"}, 400, "a name that the weights know"),
        ("prompt", {}, 400, "prompt"),
        ("undo", {}, 400, "object"),
        ("ask", {}, 400, "question"),
        ("dance", {}, 404, "no action"),
        ("list", {"session": "../../x"}, 400, "session"),
        ("open", {"image": "nobody"}, 404, "no image"),
        ("list", {"image": ""}, 400, "image"),
    ],
)
def test_what_cannot_be_used(client: Any, action: str, body: dict[str, Any], status: int, said: str) -> None:
    act(client, "open")
    response = client.post(f"/volume/{action}", json={"session": SESSION, "image": "case", **body})
    assert response.status_code == status, response.text
    assert said in response.json()["detail"]
    assert act(client, "list")["objects"] == []


def test_sessions_end(start: Callable[..., Any], case: Path) -> None:
    from lib.volume_sessions import Ended, Session, SessionLimits, VolumeSessions

    app = start(case, BrightSpot()).mimo
    model, clock = app.models.current(), [0.0]
    sessions = VolumeSessions(SessionLimits(sessions=2, minutes=1), lambda: clock[0])

    def key(name: str, image: str = "case") -> tuple[str, str, str]:
        opened = app.engine.open(case / f"{image}.nii.gz")
        sessions.open(("", name, image), Session(image, opened, "auto", model))
        return "", name, image

    a, b = key("a"), key("b")
    sessions.get(a)
    c = key("c")  # b was idle longest
    assert sessions.get(a)
    clock[0] = 59
    assert sessions.get(c)
    with pytest.raises(Ended):
        sessions.get(b)
    clock[0] = 61
    with pytest.raises(Ended):
        sessions.get(a)
    assert sessions.get(c)
    exchanged = StandInStore(BrightSpot()).model
    other = Session("case", app.engine.open(case / "other.nii.gz"), "auto", exchanged)
    assert sessions.open(c, other) == (other, False)


def test_batch_inference_without_a_gpu(start: Callable[..., Any], case: Path) -> None:
    client = start(case, BrightSpot())
    params = {"question": "What is bright?", "multi_gpu": True, "device": "cuda"}
    response = client.post("/batch/infer/mimo_ask", params={"run_sync": True}, json=params)
    assert response.status_code == 200, response.text
    labels = client.get("/datastore/", params={"output": "all"}).json()["objects"]
    assert all("original" in labels[name]["labels"] for name in ("case", "other"))
