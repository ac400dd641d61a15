"""Questions about volumes and corrections of their objects over HTTP; see the app's README for requests and replies."""

from __future__ import annotations

import base64
import gzip
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import APIRouter, Body, Depends, Form, HTTPException, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, Response
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.utils.app import app_instance
from starlette.background import BackgroundTask

from monai_mimo.data.names import REGION
from monai_mimo.errors import InputError
from monai_mimo.inference.safeguards import NOTICE, guard
from monai_mimo.inference.volume_answer import side_of
from monai_mimo.inference.volume_session import GivenPrompt, VolumeSession
from monai_mimo.transforms.reading import read_grid

from . import result
from .infer_request import prompts_in_3d, read_request
from .request_limits import Limits
from .volume_sessions import Ended, Key, Session, WorkedOn

USER = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))
BODY = Body()
SESSION = re.compile(r"[A-Za-z0-9_-]{8,64}")
MOST_SCRIBBLED = 100_000  # voxels of one request

router = APIRouter()


@dataclass
class Done:
    """What a request did: the object it made or changed, with its mask [n, h, w] before, and what else is to be replied."""

    object: str | None = None
    before: np.ndarray | None = None
    more: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def ask(app: Any, session: Session, body: dict[str, Any]) -> Done:
    """Every phrase that is found in the volume becomes an object."""
    asked = read_request({"question": body.get("question")}, app.limits)
    if not asked.question:
        raise InputError("question", "an empty text", "a question in words")

    def progress(done: int, total: int) -> None:
        session.progress = done, total

    try:
        answer = app.engine.ask_volume(session.model, session.image, asked.question, progress=progress)
    finally:
        session.progress = None
    guarded = guard(answer, asked.question, app.thresholds)
    volume, names, entities = app.engine.volume(session.model, session.image), region_names(session), []
    for entity, status in zip(guarded.answer.entities, guarded.statuses):
        phrase = entity.phrase if entity.phrase in names else None
        one = VolumeSession(volume, entity.mask, phrase, entity.score)
        number = session.add(one, "question", app.sessions_of_volumes.limits.objects)
        session.objects[number].title = entity.phrase
        about = {"phrase": entity.phrase, "span": list(entity.span), "object": number}
        entities.append({**about, "score": round(entity.score, 4), "status": status})
    more = {"answer": guarded.answer.text, "entities": entities, "withheld": guarded.to_json()["withheld"]}
    return Done(None, None, {**more, "notice": " ".join(guarded.notices)}, list(guarded.answer.warnings))


def prompt(app: Any, session: Session, body: dict[str, Any]) -> Done:
    """Find a new object by prompts, or correct one."""
    given = read_prompts(body, app.limits)
    if body.get("object") is not None:
        return _changed(app, session, body, lambda one: one.add(**given))
    phrase = body.get("phrase") or None
    if phrase is not None and phrase not in region_names(session):
        raise InputError("phrase", repr(phrase)[:80], "a name that the weights know")
    with app.engine.computing():
        one = VolumeSession(app.engine.volume(session.model, session.image), None, phrase)
        mask = one.add(**given)
    if not mask.any():
        return Done(warnings=["I see nothing at this place that I could outline."])
    number = session.add(one, "prompts", app.sessions_of_volumes.limits.objects)
    return Done(number, np.zeros_like(one.frames))


def _changed(app: Any, session: Session, body: dict[str, Any], change: Callable[[VolumeSession], object]) -> Done:
    """Change an object."""
    worked = session.of(body.get("object"))
    before = worked.session.frames.copy()
    with app.engine.computing():
        worked.session.volume = app.engine.volume(session.model, session.image)
        change(worked.session)
    worked.revision += bool((before != worked.session.frames).any())
    return Done(str(body["object"]), before)


def remove(app: Any, session: Session, body: dict[str, Any]) -> Done:
    """Take one prompt back."""
    number = body.get("prompt")
    if not isinstance(number, int):
        raise InputError("prompt", repr(number)[:80], "the id of a prompt")
    return _changed(app, session, body, lambda one: one.remove(number))


def delete(app: Any, session: Session, body: dict[str, Any]) -> Done:
    """Remove an object."""
    session.of(body.get("object"))
    del session.objects[body["object"]]
    return Done()


ACTIONS: dict[str, Callable[[Any, Session, dict[str, Any]], Done]] = {
    "ask": ask,
    "prompt": prompt,
    "undo": lambda app, session, body: _changed(app, session, body, lambda one: one.undo()),
    "redo": lambda app, session, body: _changed(app, session, body, lambda one: one.redo()),
    "reset": lambda app, session, body: _changed(app, session, body, lambda one: one.reset()),
    "remove": remove,
    "delete": delete,
    "list": lambda app, session, body: Done(),
}


@router.post("/volume/start", tags=["Volumes"], summary="Start an object from a mask", response_model=None)
async def start(session: str, image: str, label: UploadFile, params: str = Form("{}"), user: User = USER) -> Response:
    """A label file on the voxels of the image."""
    from .routes import json_object, keep_upload

    app = app_instance()
    asked = json_object("params", params, app.limits.max_params_kb)
    path = await keep_upload(label, app.uploads, (*result.RESULT_EXTENSIONS, ".bin", ".mha"))
    try:
        return await run_in_threadpool(_start, app, _key(user, session, image), asked, path)
    finally:
        path.unlink(missing_ok=True)


def _start(app: Any, key: Key, asked: dict[str, Any], path: Path) -> Response:
    session = _session(app, key)
    value, phrase = asked.get("value"), asked.get("phrase")
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise InputError("value", repr(value)[:80], "the number of a label")
    if phrase is not None and not isinstance(phrase, str):
        raise InputError("phrase", type(phrase).__name__, "a text")
    labels = np.asarray(read_grid(path).values)
    mask = labels != 0 if value is None else labels == value
    with session.lock:
        volume = app.engine.volume(session.model, session.image)
        one = VolumeSession(volume, mask, phrase if phrase in region_names(session) else None)
        number = session.add(one, "mask", app.sessions_of_volumes.limits.objects)
        session.objects[number].title = phrase
        return JSONResponse(state(app, key, session, Done(number, np.zeros_like(one.frames))))


@router.get("/volume/mask", tags=["Volumes"], summary="The mask of an object", response_model=None)
async def mask(session: str, image: str, object: str, user: User = USER) -> Response:
    """NRRD on the voxels of the image, values 0 and 1."""
    app = app_instance()
    return await run_in_threadpool(_mask, app, _key(user, session, image), object)


def _mask(app: Any, key: Key, number: str) -> Response:
    session = _session(app, key)
    with session.lock:
        worked = session.of(number)
        labels, phrase = worked.session.mask.astype(np.uint8), worked.phrase
    made = result.write_result(labels, session.image, {phrase: 1}, {"result_extension": ".nrrd"})
    remove_after = BackgroundTask(Path(made).unlink, missing_ok=True)
    return FileResponse(made, media_type="application/octet-stream", filename="mask.nrrd", background=remove_after)


@router.get("/volume/progress", tags=["Volumes"], summary="How far a question is", response_model=None)
async def progress(session: str, image: str, user: User = USER) -> dict[str, Any]:
    """Slices that are done, and all of them; null where nothing runs."""
    done, total = _session(app_instance(), _key(user, session, image)).progress or (None, None)
    return {"done": done, "of": total}


@router.post("/volume/{action}", tags=["Volumes"], summary="Ask about a volume, or correct it", response_model=None)
async def act(action: str, body: dict[str, Any] = BODY, user: User = USER) -> Response:
    """One of open, ask, prompt, undo, redo, reset, remove, delete, list and close."""
    key = _key(user, body.get("session"), body.get("image"))
    return await run_in_threadpool(_act, app_instance(), action, key, body)


def _act(app: Any, action: str, key: Key, body: dict[str, Any]) -> Response:
    sessions = app.sessions_of_volumes
    if action == "close":
        sessions.close(key)
        return JSONResponse({})
    if action == "open":
        app.versions.sync()
        plane = read_request({"plane": body.get("plane")}, app.limits).plane
        image = app.engine.open(str(app.image_file(key[2], app.datastore())), plane)
        if image.affine is None:
            raise InputError("image", "a picture", "a volume")
        session, continued = sessions.open(key, Session(key[2], image, plane, app.models.current()))
        return JSONResponse(state(app, key, session, Done(), continued))
    if action not in ACTIONS:
        raise HTTPException(404, f"there is no action {action[:40]!r}: open, {', '.join(ACTIONS)} or close")
    session = _session(app, key)
    noted = {"prompt": app.audit.prompt(body), "model": session.model.hash}
    with session.lock:
        try:
            said = state(app, key, session, ACTIONS[action](app, session, body))
        except InputError:
            app.audit.write(f"volume {action}", key[2], "refused", **noted)
            raise
    if action != "list":
        app.audit.write(f"volume {action}", key[2], "answered", **noted)
    return JSONResponse(said)


def _key(user: User, session: Any, image: Any) -> Key:
    if not isinstance(session, str) or not SESSION.fullmatch(session):
        raise InputError("session", repr(session)[:80], "8 to 64 letters, digits, - or _")
    if not isinstance(image, str) or not image:
        raise InputError("image", type(image).__name__, "the id of an image")
    return (user.username or "") if settings.MONAI_LABEL_AUTH_ENABLE else "", session, image


def _session(app: Any, key: Key) -> Session:
    try:
        return app.sessions_of_volumes.get(key)
    except Ended as error:
        raise HTTPException(410, "there is no such session: it ended, or the server was restarted") from error


def region_names(session: Session) -> tuple[str, ...]:
    """Names that objects may have."""
    names = session.model.predictor.model.region_names
    return () if names is None else tuple(n for n in names.names if n != REGION)


def read_prompts(body: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """The prompts of a request as `VolumeSession.add` takes them.

    Raises:
        InputError: one has another form, or there are too many.
    """
    asked = read_request(body, limits)
    painted = sum(map(len, asked.scribbles))
    if painted > MOST_SCRIBBLED:
        raise InputError("scribble", f"{painted} voxels", f"at most {MOST_SCRIBBLED}")
    return prompts_in_3d(asked)


def state(app: Any, key: Key, session: Session, done: Done, continued: bool = True) -> dict[str, Any]:
    """The reply of every action."""
    image = session.image
    change = None
    if done.object is not None and done.before is not None:
        change = _change(session.objects[done.object].session, done.before)
    return {
        "session": key[1],
        "image": session.image_id,
        "continued": continued,
        "volume": {
            "shape": list(image.shape),
            "plane": image.shown.plane,
            "axis": image.slice_axis,
            "modality": image.shown.modality,
            "spacing_mm": np.linalg.norm(image.shown.affine[:3, :3], axis=0).round(6).tolist(),  # type: ignore[index]
        },
        "names": list(session.model.labels),
        "model": session.model.info(),
        "notice": NOTICE,
        "warnings": done.warnings,
        "notes": list(image.shown.notes),
        "object": done.object,
        "change": change,
        "objects": [_described(app, session, id, o) for id, o in session.objects.items()],
        **done.more,
    }


def _change(one: VolumeSession, before: np.ndarray) -> dict[str, Any] | None:
    """The smallest box of voxels that holds all that changed, and the mask in it."""
    changed = one.volume.to_voxels(one.frames != before)
    if not changed.any():
        return None
    ends = [np.flatnonzero(changed.any(tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    part = one.volume.to_voxels(one.frames)[tuple(np.s_[e[0] : e[-1] + 1] for e in ends)]
    packed = gzip.compress(part.astype(np.uint8).tobytes(order="F"), 1)
    box = [*(int(e[0]) for e in ends), *(int(e[-1]) + 1 for e in ends)]
    return {"box": box, "mask": base64.b64encode(packed).decode()}


def _described(app: Any, session: Session, id: str, worked: WorkedOn) -> dict[str, Any]:
    one, image = worked.session, session.image
    areas = one.frames.sum((1, 2))
    numbers = np.flatnonzero(areas)
    box = slices = None
    if len(numbers):
        slices = sorted(image.index_of(int(n)) for n in (numbers[0], numbers[-1]))
        rows, columns = (np.flatnonzero(one.frames.any(axis)) for axis in ((0, 2), (0, 1)))
        corners = [image.voxel(int(numbers[e]), int(columns[e]), int(rows[e])) for e in (0, -1)]
        low, high = zip(*(sorted(pair) for pair in zip(*corners)))
        box = [*low, *(v + 1 for v in high)]
    return {
        "id": id,
        "phrase": worked.phrase,
        "score": None if one.score is None else round(one.score, 4),
        "status": "shown" if one.score is None else app.thresholds.status(one.score, worked.phrase),
        "from": worked.origin,
        "voxels": int(areas.sum()),
        "volume_ml": round(float(areas.sum()) * one.volume.voxel_ml, 4),
        "side": side_of(one.frames, image.shown) if len(numbers) else None,
        "slices": slices,
        "slice": image.index_of(int(areas.argmax())) if len(numbers) else None,
        "box": box,
        "prompts": [_told(p) for p in one.prompts],
        "undo": one.steps[0],
        "redo": one.steps[1],
        "revision": worked.revision,
    }


def _told(given: GivenPrompt) -> dict[str, Any]:
    points = {label: [list(p[:3]) for p in given.points if p[3] == label] for label in (1, 0)}
    return {
        "id": given.id,
        "foreground": points[1],
        "background": points[0],
        "foreground_scribble": [list(v) for v in given.inside],
        "background_scribble": [list(v) for v in given.outside],
        "bbox": list(given.boxes[0]) if given.boxes else None,
    }
