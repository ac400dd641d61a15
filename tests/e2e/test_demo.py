"""`mimo demo` as a user starts it: choose an example, ask, read the answer, get the mask."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from .services import free_port, get, running, wait_until


def test_demo_page(page: Any, small_weights: Path, tmp_path: Path, pictures: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "monai_mimo.cli", "demo", "--weights", str(small_weights), "--port", str(port)]
    with running([*command, "--withhold", "0"], tmp_path / "demo.log"):
        wait_until(lambda: get(url), "the demo page", 180)
        page.goto(url)
        page.click("#example input")
        page.click("[role=option]")
        page.wait_for_selector("#picture img")
        page.wait_for_function("document.querySelector('#question textarea').value.length > 0")
        page.click("#ask")
        page.wait_for_selector("#answer mark")
        assert page.inner_text("#answer mark").strip()
        page.wait_for_selector("#downloads a")
        pictures.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(pictures / "demo.png"))
