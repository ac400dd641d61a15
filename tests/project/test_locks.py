"""The locks hold what pyproject.toml asks for, and keep the app's old numpy and pydicom away from the core."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CORE_EXTRAS = ("test", "llm", "ray", "text", "demo", "small")  # as .ci/environment installs them
LABEL_EXTRAS = ("dev", "docs", "small")
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def asked(extras: tuple[str, ...]) -> list[Requirement]:
    """The direct requirements of the package with extras, and those of the extras that these name."""
    out, todo = [Requirement(text) for text in PROJECT["dependencies"]], list(extras)
    while todo:
        for requirement in map(Requirement, PROJECT["optional-dependencies"][todo.pop()]):
            if requirement.name == PROJECT["name"]:
                todo += requirement.extras
            else:
                out.append(requirement)
    return out


def canonical(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def locked(name: str, python: str) -> dict[str, str]:
    """Version by canonical name, on Linux with one Python."""
    environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    environment |= {"platform_system": "Linux", "platform_machine": "x86_64", "implementation_name": "cpython"}
    out = {}
    for line in (ROOT / "requirements" / f"{name}.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate(environment):
                [pin] = requirement.specifier
                assert pin.operator == "=="
                assert canonical(requirement.name) not in out, line
                out[canonical(requirement.name)] = pin.version
    return out


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(("name", "extras"), [("core", CORE_EXTRAS), ("label", LABEL_EXTRAS)])
def test_the_lock_fits_what_is_asked_for(name: str, extras: tuple[str, ...], python: str) -> None:
    versions = locked(name, python)
    for requirement in asked(extras):
        version = versions.get(canonical(requirement.name))
        assert version is not None, f"{requirement} is not in requirements/{name}.txt; make lock"
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement}: {version}"


def test_the_core_is_free_of_the_apps_old_versions() -> None:
    core, label = locked("core", "3.11"), locked("label", "3.11")
    assert (core["numpy"][0], core["pydicom"][0]) == ("2", "3")
    assert (label["numpy"][0], label["pydicom"][0]) == ("1", "2")
    assert "monailabel" in label
    assert "monailabel" not in core


def test_no_index_is_named() -> None:
    for file in (ROOT / "requirements").iterdir():
        assert "//" not in file.read_text(), file
        assert "index" not in file.read_text(), file


def test_continuous_integration_installs_these_extras() -> None:
    script = (ROOT / ".ci" / "environment").read_text()
    assert f"extras={','.join(CORE_EXTRAS)}" in script
    makefile = (ROOT / "Makefile").read_text()
    for extras, name in ((CORE_EXTRAS, "core"), (LABEL_EXTRAS, "label")):
        assert f"{' '.join(f'--extra {extra}' for extra in extras)} -o requirements/{name}.txt" in makefile
