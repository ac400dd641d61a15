"""The client with the real server: what it asks for is there, and what goes wrong is a sentence."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("monailabel")

from MIMOLib import nrrd
from MIMOLib.client import Client, Image, multipart
from MIMOLib.errors import MimoError, ServerError
from MIMOLib.geometry import Grid
from requests_toolbelt import MultipartEncoder

from ..monailabel_app.conftest import oblique_affine
from .conftest import Served, spot

OBLIQUE = Image(id="oblique")


def test_what_the_server_says_of_itself(served: Served) -> None:
    server = Client(f" {served.address}/ ").info()
    assert (server.model, server.weights, server.names) == ("MIMO stand-in", "0" * 12, ("liver", "spleen"))
    assert server.notice.startswith("Research use only")
    assert server.reports is False  # the studies are a folder


def test_images_are_listed_and_downloaded(served: Served, tmp_path: Path) -> None:
    client = Client(served.address)
    assert client.images() == ["oblique"]
    file = client.download("oblique", tmp_path)
    assert file.name == "image.nii.gz"
    np.testing.assert_allclose(nib.load(file).affine, oblique_affine(), atol=1e-5)
    with pytest.raises(ServerError, match="there is no image") as error:
        client.download("../oblique", tmp_path)
    assert error.value.status == 404


@pytest.mark.parametrize("sent", [False, True])
def test_each_task_answers_on_the_voxels_of_the_volume(served: Served, sent: bool) -> None:
    """Of the server's own image, and of one that it was sent."""
    client, grid, image = Client(served.address), Grid((24, 20, 9), oblique_affine()), OBLIQUE
    if sent:
        voxels = np.asarray(nib.load(served.studies / "oblique.nii.gz").dataobj)
        image = client.upload(nrrd.write(voxels, grid))
    for task, params, slices in (
        ("mimo_ask", {"question": "What?", "slice": [0, 0, 4]}, (4,)),
        ("mimo_volume", {"foreground": [[11, 8, 4]]}, (3, 4)),
        ("mimo_segment", {"label": ["liver"]}, (3, 4)),
    ):
        reply, found = client.ask(task, image, params)
        assert found is not None
        assert found[1].same(grid)
        np.testing.assert_array_equal(found[0] == reply["entities"][0]["label"], spot(slices))


def test_a_report_on_a_folder_is_refused_in_words(served: Served) -> None:
    label = nrrd.write(spot().astype(np.uint8), Grid((24, 20, 9), oblique_affine()))
    params = {"label_names": {"liver": 1}, "reviewer": "R", "report": [{"question": "", "answer": "a"}]}
    with pytest.raises(ServerError, match="studies in a folder"):
        Client(served.address).save(OBLIQUE, label, params)
    assert served.app.datastore().get_label_uri("oblique", "final") == ""


def test_a_decision_that_cannot_be_noted_holds_nobody_up(served: Served) -> None:
    Client("http://127.0.0.1:9").decided(OBLIQUE, "liver", 0.9, "accept", "R")
    Client(served.address).decided(OBLIQUE, "liver", 0.9, "perhaps", "R")


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """A program that is no MONAI Label server, whose reply is the path."""

    def do_GET(self) -> None:
        body = {"/html/info/": b"<html>", "/list/info/": b"[]", "/other/info/": b'{"models": {"deepgrow": {}}}'}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.get(self.path, b'{"models": {"mimo_ask": 1, "mimo_volume": 1, "mimo_segment": {}}}'))

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("html", "not a MONAI Label server"),
        ("list", "not a MONAI Label server"),
        ("other", "has no MIMO app"),
        ("empty", "no weights yet"),
    ],
)
def test_another_program_is_told_from_ours(elsewhere: str, path: str, said: str) -> None:
    with pytest.raises(ServerError, match=said):
        Client(f"{elsewhere}/{path}").info()


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://127.0.0.1:99999", "http://[::1"])
def test_an_address_without_a_server(address: str) -> None:
    with pytest.raises(ServerError, match="does not answer"):
        Client(address).info()


@pytest.mark.parametrize("address", ["", "127.0.0.1:8000", "ftp://127.0.0.1", "http://"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(MimoError, match="begins with http"):
        Client(address)


@given(st.binary(max_size=200), st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_parts_come_out_as_they_went_in(params: bytes, image: bytes) -> None:
    body = MultipartEncoder({"params": (None, params, "application/json"), "image": ("a.nrrd", image, "x/y")})
    assert multipart(body.to_string(), body.content_type) == {"params": params, "image": image}


def test_a_reply_that_was_cut_off() -> None:
    body = MultipartEncoder({"params": (None, b"{}", "application/json"), "image": ("a.nrrd", b"1234", "x/y")})
    text = body.to_string()
    with pytest.raises(ServerError, match="cut off"):
        multipart(text[: len(text) // 2], body.content_type)
