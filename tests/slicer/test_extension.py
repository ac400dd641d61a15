"""The extension is whole: what CMake packs, what the Extensions Index asks for, what 3D Slicer's Python can read."""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from .conftest import MODULE

EXTENSION = MODULE.parent
SCRIPTS = sorted(MODULE.rglob("*.py"))


def test_every_file_is_packed() -> None:
    text = (MODULE / "CMakeLists.txt").read_text().replace("${MODULE_NAME}", "MIMO")
    packed = set(re.findall(r"^\s+(\S+\.(?:py|png|ui))$", text, re.MULTILINE))
    files = {str(f.relative_to(MODULE)) for f in MODULE.rglob("*") if f.suffix in (".py", ".png", ".ui")}
    assert packed == files


def test_the_description_says_what_cmake_says() -> None:
    """Keys as in slicer-extension-catalog-entry-schema-v1.0.1.json, which allows no others."""
    said = json.loads((EXTENSION / "MIMO.json").read_text())
    assert {"$schema", "category", "scm_url"} <= set(said)
    optional = "scm_revision scm_type build_dependencies build_subdirectory enabled tier"
    assert set(said) <= {"$schema", "category", "scm_url", *optional.split()}
    cmake = (EXTENSION / "CMakeLists.txt").read_text()
    settings = dict(re.findall(r'^set\(EXTENSION_(\w+) "([^"]*)"', cmake, re.MULTILINE))
    assert settings["HOMEPAGE"] == said["scm_url"].removesuffix(".git")
    assert (settings["DEPENDS"], said["build_dependencies"]) == ("NA", [])
    raw = settings["HOMEPAGE"].replace("github.com", "raw.githubusercontent.com") + f"/{said['scm_revision']}/"
    for url in (settings["ICONURL"], *settings["SCREENSHOTURLS"].split()):
        assert url.startswith(raw)
        assert (EXTENSION / url.removeprefix(raw)).is_file()
    assert "not for diagnosis" in settings["DESCRIPTION"]


def test_icon_and_licence() -> None:
    assert Image.open(EXTENSION / "MIMO.png").size == (128, 128)
    assert (EXTENSION / "LICENSE.txt").read_bytes() == (EXTENSION.parent / "LICENSE").read_bytes()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_the_python_of_3d_slicer_reads_it(script: Path) -> None:
    """3.9, with numpy and requests beside its own library; 3D Slicer, Qt and VTK in MIMO.py alone."""
    tree = ast.parse(script.read_text(), feature_version=(3, 9))
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    absolute = [n for n in imports if isinstance(n, ast.Import) or not n.level]
    names = {a.name for n in absolute if isinstance(n, ast.Import) for a in n.names}
    names |= {str(n.module) for n in absolute if isinstance(n, ast.ImportFrom)}
    allowed = {"numpy", "requests"}
    if script.name == "MIMO.py":
        allowed |= {"qt", "slicer", "vtk", "MIMOLib"}
    assert {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) <= allowed


def test_the_panel_has_the_widgets_that_are_used() -> None:
    used = set(re.findall(r"self\.ui\.(\w+)", (MODULE / "MIMO.py").read_text()))
    root = ElementTree.parse(MODULE / "Resources" / "UI" / "MIMO.ui").getroot()
    names = [w.get("name") for w in root.iter("widget")]
    assert len(names) == len(set(names))
    assert used <= set(names)
    buttons = {w.get("name") for w in root.iter("widget") if w.get("class") == "QPushButton"}
    assert buttons <= used  # none does nothing
    for widget in root.iter("widget"):
        if widget.get("class") in ("QPushButton", "QCheckBox", "qMRMLNodeComboBox"):
            assert widget.find("property[@name='toolTip']") is not None, widget.get("name")
