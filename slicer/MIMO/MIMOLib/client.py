"""The server: MONAI Label with the MIMO app. Blocking, as 3D Slicer's scripts are; each call ends after a time."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import requests

from . import nrrd
from .errors import MimoError, ServerError, sentence_of
from .geometry import Grid

CONNECT_SECONDS, ANSWER_SECONDS = 5, 600
TASKS = ("mimo_ask", "mimo_volume", "mimo_segment")


@dataclass(frozen=True)
class Image:
    """What a request is about: an image of the server's studies, or one that was sent to it for a while."""

    id: str = ""
    session: str = ""


@dataclass(frozen=True)
class Server:
    """What a server says of itself.

    Attributes:
        model, weights: name, and hash.
        names: what the weights know.
        notice: to be shown with every answer.
        reports: whether a saved label may have a DICOM SR.
    """

    model: str
    weights: str
    names: tuple[str, ...]
    notice: str
    reports: bool


class Client:
    """Args:
    address: such as http://127.0.0.1:8000
    """

    def __init__(self, address: str) -> None:
        self.address = address.strip().rstrip("/")
        if not self.address.startswith(("http://", "https://")):
            raise MimoError("The server's address begins with http:// or https://, as http://127.0.0.1:8000 does.")
        self._http = requests.Session()

    def info(self) -> Server:
        """What the server says of itself.

        Raises:
            ServerError: it does not answer, has no weights, or is another program.
        """
        said = self._json("GET", "/info/")
        tasks = said.get("models")
        if not isinstance(tasks, dict) or not all(task in tasks for task in TASKS):
            raise ServerError("This server has no MIMO app.")
        if not said.get("model"):
            raise ServerError("The server has no weights yet: it can show images, but not answer.")
        return Server(
            said["model"]["name"],
            said["model"]["hash"],
            tuple(tasks["mimo_segment"].get("labels") or ()),
            str(said.get("notice", "")),
            said.get("reports") is True,
        )

    def images(self) -> list[str]:
        """The ids of the server's images."""
        said = self._json("GET", "/datastore/", params={"output": "all"})
        return sorted(said.get("objects") or {})

    def download(self, image: str, folder: Path) -> Path:
        """An image as a file in a folder."""
        reply = self._call("GET", "/datastore/image", params={"image": image})
        _, _, name = reply.headers.get("content-disposition", "").partition('filename="')
        suffix = "".join(Path(name.rstrip('"')).suffixes[-2:]) or ".nii.gz"
        file = folder / f"image{suffix if suffix.endswith('.gz') else Path(suffix).suffix}"
        file.write_bytes(reply.content)
        return file

    def upload(self, volume: bytes) -> Image:
        """Send a volume, as NRRD, for questions about it; the server forgets it after a while. It goes without a name."""
        said = self._json("PUT", "/session/", files={"files": ("volume.nrrd", volume)})
        return Image(session=str(said["session_id"]))

    def ask(
        self, task: str, image: Image, params: dict[str, Any]
    ) -> tuple[dict[str, Any], tuple[np.ndarray, Grid] | None]:
        """Run a task.

        Returns:
            The JSON of the reply, and its label map [i, j, k] with its grid, if there is one.
        """
        where = {"session_id": image.session} if image.session else {"image": image.id}
        form = {"params": json.dumps({**params, "result_extension": ".nrrd", "result_compress": True})}
        reply = self._call("POST", f"/infer/{task}", params={**where, "output": "all"}, data=form)
        kind = reply.headers.get("content-type", "")
        if not kind.startswith("multipart/"):
            return reply.json(), None
        parts = multipart(reply.content, kind)
        return json.loads(parts["params"]), nrrd.read(parts["image"])

    def save(self, image: Image, label: bytes, params: dict[str, Any]) -> None:
        """Save a label map, as NRRD, as final."""
        files = {"label": ("label.nrrd", label)}
        where = {"image": image.id, "tag": "final"}
        self._call("PUT", "/datastore/label", params=where, files=files, data={"params": json.dumps(params)})

    def decided(self, image: Image, phrase: str, score: float, decision: str, reviewer: str) -> None:
        """Tell the audit log what a person decided about a phrase; the work goes on whether or not it hears."""
        said = {
            "image": image.id or "session",
            "phrase": phrase,
            "score": score,
            "decision": decision,
            "reviewer": reviewer,
        }
        with contextlib.suppress(ServerError):
            self._call("POST", "/decision", json=said)

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            said = self._call(method, path, **options).json()
        except requests.JSONDecodeError as error:
            raise ServerError("Something answers at this address, but not a MONAI Label server.") from error
        if not isinstance(said, dict):
            raise ServerError("Something answers at this address, but not a MONAI Label server.")
        return said

    def _call(self, method: str, path: str, **options: Any) -> requests.Response:
        try:
            reply = self._http.request(
                method, self.address + path, timeout=(CONNECT_SECONDS, ANSWER_SECONDS), **options
            )
        except requests.Timeout as error:
            raise ServerError(SLOW if isinstance(error, requests.ReadTimeout) else SILENT) from error
        except (requests.RequestException, ValueError) as error:  # also of an address that is none
            raise ServerError(SILENT) from error
        if not reply.ok:
            raise ServerError(sentence_of(reply.status_code, reply.text), reply.status_code)
        return reply


SILENT = "The server does not answer. Is it running, and is its address right?"
SLOW = "The server took too long."


def multipart(body: bytes, kind: str) -> dict[str, bytes]:
    """The parts of a multipart reply by their names.

    Args:
        kind: its content type, which names the boundary.
    """
    _, _, boundary = kind.partition("boundary=")
    parts = {}
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary.split(";")[0].strip('" ').encode())[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        _, _, name = head.partition(b'name="')
        parts[name.partition(b'"')[0].decode()] = content
    if not {"params", "image"} <= set(parts):
        raise ServerError("The server's answer was cut off.")
    return parts
