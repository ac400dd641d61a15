"""OHIF's configuration names our extension, and the panel's modules are served, they alone."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("monailabel")
from starlette.applications import Starlette
from starlette.testclient import TestClient

from monailabel_app.lib.ohif_routes import PANEL, SHIPPED_CONFIG, add_panel


@pytest.fixture
def client() -> TestClient:
    app = Starlette()
    add_panel(app.router.routes)
    add_panel(app.router.routes)  # an app that is made anew
    assert len(app.router.routes) == 2
    return TestClient(app)


def test_configuration_is_the_shipped_one_with_our_extension(client: TestClient) -> None:
    text = client.get("/ohif/app-config.js").text
    assert text.startswith(SHIPPED_CONFIG.read_text())
    for name in ("ext.js", "mode.js"):
        assert f"'/mimo/{name}'" in text.removeprefix(SHIPPED_CONFIG.read_text())


def test_every_module_that_is_imported_is_served(client: TestClient) -> None:
    seen, wanted = set(), ["ext.js", "mode.js", "style.css"]
    while wanted:
        name = wanted.pop()
        reply = client.get(f"/mimo/{name}")
        assert reply.status_code == 200, name
        kind = reply.headers["content-type"].split(";")[0].split("/")[1]  # text/ or application/, as the system has it
        assert kind == ("css" if name.endswith(".css") else "javascript")  # else a browser refuses the module
        assert reply.headers["cache-control"] == "no-cache"
        seen.add(name)
        wanted += [found for found in re.findall(r"from '\./([\w.]+)'", reply.text) if found not in seen]
    assert seen == {path.name for path in PANEL.iterdir() if path.suffix in (".js", ".css")}


@pytest.mark.parametrize("path", ["/mimo/../main.py", "/mimo/%2e%2e/main.py", "/mimo/..%2fmain.py", "/mimo/"])
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404
