"""The routes that take the place of MONAI Label's: they check first, do not block the server, and answer in plain words."""

from __future__ import annotations

import json
import os
import re
import tempfile
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

from fastapi import APIRouter, BackgroundTasks, Depends, Form, HTTPException, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, Response
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.others.generic import get_mime_type
from requests_toolbelt import MultipartEncoder

from monai_mimo.errors import InputError

from .pacs import Pacs
from .result import RESULT_EXTENSIONS
from .study_image import open_study_image

USER = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))
ANNOTATOR = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR))
NAME = re.compile(r"[\w][\w .()+,=@-]{0,199}", re.UNICODE)
OF_THE_SERVER = (
    "model",
    "image",
    "session",
    "label_tag",
    "save_label",
    "description",
)  # a client may not set these by params

router = APIRouter()


class Output(str, Enum):
    """What of a reply is sent."""

    image = "image"
    json = "json"
    all = "all"
    dicom_seg = "dicom_seg"


@router.post("/infer/wsi/{model}", include_in_schema=False)
@router.post("/infer/wsi_v2/{model}", include_in_schema=False)
async def infer_wsi(model: str, user: User = USER) -> Response:
    """Whole-slide images are not for this model."""
    raise HTTPException(404, "this app has no tasks for whole-slide images")


@router.post("/infer/{model}", tags=["Infer"], summary="Run a task", response_model=None)
async def infer(
    background: BackgroundTasks,
    model: str,
    image: str = "",
    session_id: str = "",
    params: str = Form("{}"),
    file: UploadFile | None = None,
    label: UploadFile | None = None,
    output: Output | None = None,
    user: User = USER,
) -> Response:
    """See the app's README."""
    app = app_instance()
    given = json_object("params", params, app.limits.max_params_kb)
    request: dict[str, Any] = {k: v for k, v in given.items() if k not in OF_THE_SERVER}
    request |= {"model": model, "image": image, "save_label": given.get("save_label") is True}
    if file is not None:
        request["image"] = str(await keep_upload(file, app.uploads))
        background.add_task(os.unlink, request["image"])
    elif session_id:
        session = app.sessions().get_session(session_id) if NAME.fullmatch(session_id) and app.sessions() else None
        if session is None:
            raise HTTPException(404, f"there is no session {session_id[:80]!r}")
        request["image"] = session.image
    elif not image:
        raise HTTPException(400, "neither image nor file nor session_id is given")
    if output == Output.json:
        request["result_write_to_file"] = False
    elif output == Output.dicom_seg:
        request["result_extension"] = ".nii.gz"
    reply = await run_in_threadpool(app.infer, request)
    return await run_in_threadpool(response, app, image, reply, output, background)


def response(
    app: Any, image: str, reply: dict[str, Any], output: Output | None, background: BackgroundTasks
) -> Response:
    """In the form that the viewer asked for."""
    made, params = reply["file"], reply["params"]
    if made is None or output == Output.json:
        return JSONResponse(params)
    if reply["label"] is None:
        background.add_task(Path(made).unlink, missing_ok=True)
    if output == Output.dicom_seg:
        if not isinstance(app.datastore(), Pacs):
            raise HTTPException(400, "DICOM SEG is for studies of a DICOMweb server")
        seg = app.datastore().to_seg(image, made, params)
        background.add_task(os.unlink, seg)
        return FileResponse(seg, media_type="application/dicom", filename="segmentation.dcm", background=background)
    if output != Output.image:  # both: also where nothing is asked for, as 3D Slicer does
        return two_parts(params, made, background)
    return FileResponse(made, media_type=get_mime_type(made), filename=os.path.basename(made), background=background)


def two_parts(params: dict[str, Any], file: str, background: BackgroundTasks) -> Response:
    """multipart/form-data with JSON and a label map."""
    with open(file, "rb") as stream:
        fields = {
            "params": (None, json.dumps(params), "application/json"),
            "image": (os.path.basename(file), stream.read(), get_mime_type(file)),
        }
    body = MultipartEncoder(fields=fields)
    return Response(body.to_string(), media_type=body.content_type, background=background)


@router.put("/datastore/label", tags=["Datastore"], summary="Save a label that a person accepts", response_model=None)
async def save_label(
    background: BackgroundTasks,
    image: str,
    label: UploadFile,
    params: str = Form("{}"),
    tag: str = "final",
    user: User = ANNOTATOR,
) -> dict[str, Any]:
    """Keep a label of an image; `final` is what a person accepted, and is what the model learns from.

    `params` may hold `label_names` {name: value} or `label_info` [{"name", "idx"}], `reviewer`, and what else is to be kept.
    """
    app = app_instance()
    info = json_object("params", params, app.limits.max_params_kb)
    tag = tag or "final"
    if not NAME.fullmatch(tag) or tag in (".", ".."):
        raise InputError("tag", repr(tag)[:80], "a word")
    if not app.has_image(image):
        raise HTTPException(404, f"there is no image {image[:80]!r}")
    if user.username and settings.MONAI_LABEL_AUTH_ENABLE:
        info["user"] = user.username
    path = await keep_upload(label, app.uploads, (*RESULT_EXTENSIONS, ".bin", ".mha"))
    try:
        saved = await run_in_threadpool(app.save_label, image, str(path), tag, info)
    finally:
        path.unlink(missing_ok=True)
    return saved


@router.get("/masks", tags=["Datastore"], summary="Get the masks of a DICOM SEG", response_model=None)
async def masks(background: BackgroundTasks, image: str, seg: str, user: User = USER) -> Response:
    """A SEG of the DICOMweb server about one of its series, by whomever, as a label map on the voxels of that series.

    In the reply `label_names` {name: value} and `colors` {name: [red, green, blue]}. A value that stands for several segments,
    where those overlap, has their names with " ∩ " between.
    """
    app = app_instance()
    if not isinstance(app.datastore(), Pacs):
        raise HTTPException(400, "DICOM SEG is for studies of a DICOMweb server")
    if not app.has_image(image):
        raise HTTPException(404, f"there is no image {image[:80]!r}")
    params, file = await run_in_threadpool(app.datastore().masks_of, image, seg)
    background.add_task(os.unlink, file)
    return two_parts(params, file, background)


@router.put("/datastore/image", tags=["Datastore"], summary="Add an image", response_model=None)
async def add_image(
    file: UploadFile,
    image: str | None = None,
    params: str = Form("{}"),
    user: User = ANNOTATOR,
) -> dict[str, Any]:
    """Add an image to the studies, under a new name that is no path."""
    app = app_instance()
    if isinstance(app.datastore(), Pacs):
        raise HTTPException(400, "the studies are on a DICOMweb server: store images there")
    info = json_object("params", params, app.limits.max_params_kb)
    endings = tuple(e.replace("*", "") for e in app.datastore()._extensions)
    path = await keep_upload(file, app.uploads, endings)
    try:
        ending = next(e for e in sorted(endings, key=len, reverse=True) if path.name.endswith(e))
        name = image or PurePath(file.filename or "image").name.removesuffix(ending)
        if not NAME.fullmatch(name):
            raise InputError("image", repr(name)[:80], "a name of letters, digits, blanks and any of .-_()+,=@")
        if app.has_image(name):
            raise HTTPException(409, f"there is an image {name!r} already")
        await run_in_threadpool(open_study_image, path, "auto", app.limits)  # refuse what is none
        added = await run_in_threadpool(app.datastore().add_image, name, str(path), info)
    finally:
        path.unlink(missing_ok=True)
    return {"image": added}


@router.head("/datastore/image", include_in_schema=False, response_model=None)
@router.get("/datastore/image", tags=["Datastore"], summary="Get an image", response_model=None)
async def get_image(image: str, user: User = USER) -> Response:
    """The image as a file; DICOM as a NIfTI on the same voxels."""
    app = app_instance()
    path = await run_in_threadpool(app.datastore().viewer_file, image) if app.has_image(image) else ""
    if not path:
        raise HTTPException(404, f"there is no image {image[:80]!r}")
    return FileResponse(path, media_type=get_mime_type(path), filename=os.path.basename(path))


@router.put("/datastore/image/info", tags=["Datastore"], response_model=None)
async def image_info(image: str, info: str = Form("{}"), user: User = ANNOTATOR) -> None:
    """Keep something about an image."""
    app = app_instance()
    app.datastore().update_image_info(image, json_object("info", info, app.limits.max_params_kb))


@router.put("/datastore/label/info", tags=["Datastore"], response_model=None)
@router.put("/datastore/updatelabelinfo", include_in_schema=False, response_model=None)
async def label_info(
    label: str, tag: str, info: str = Form("{}"), params: str = Form("{}"), user: User = ANNOTATOR
) -> None:
    """Keep something about a label."""
    app = app_instance()
    details = {
        name: json_object(name, text, app.limits.max_params_kb) for name, text in (("params", params), ("info", info))
    }
    app.datastore().update_label_info(label, tag, {**details["params"], **details["info"]})


@router.post("/decision", tags=["Others"], summary="Note what a person decided about a phrase", response_model=None)
async def decision(decision: dict[str, Any], user: User = ANNOTATOR) -> dict[str, Any]:
    """For the audit log: {"image", "phrase", "score", "decision": "accept" or "reject", "reviewer"}."""
    app = app_instance()
    if decision.get("decision") not in ("accept", "reject"):
        raise InputError("decision", repr(decision.get("decision"))[:80], "accept or reject")
    app.note_decision(decision)
    return {}


def json_object(name: str, text: str, max_kb: int) -> dict[str, Any]:
    """The JSON object of a form field.

    Raises:
        InputError: it is another thing, or too large.
    """
    if len(text) > max_kb << 10:
        raise HTTPException(413, f"{name} has more than {max_kb} kB (max_params_kb)")
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise InputError(name, f"text that is no JSON ({str(error)[:100]})", "a JSON object") from error
    if not isinstance(value, dict):
        raise InputError(name, type(value).__name__, "a JSON object")
    return value


async def keep_upload(file: UploadFile, folder: Path, endings: tuple[str, ...] = ()) -> Path:
    """Keep an uploaded file, under a name of ours with its ending.

    Raises:
        InputError: the ending is not one of those.
    """
    suffixes = [s for s in PurePath(file.filename or "").suffixes if re.fullmatch(r"\.\w{1,8}", s)][-2:]
    ending = "".join(suffixes).lower()
    if endings:
        fitting = [e for e in sorted(endings, key=len, reverse=True) if ending.endswith(e)]
        if not fitting:
            raise InputError("file", f"a name ending in {ending[:40]!r}", f"one of {', '.join(endings)}")
        ending = fitting[0]
    handle, path = tempfile.mkstemp(suffix=ending, dir=folder)
    with os.fdopen(handle, "wb") as out:
        while chunk := await file.read(1 << 20):
            out.write(chunk)
    return Path(path)
