"""What docker/ says, read: every file, extra, option and program that it names is there, and nothing is open or secret."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from .dockerfiles import ROOT, Stage, exec_form, stages
from .test_locks import PROJECT, locked

DOCKER = ROOT / "docker"
FILES = sorted(DOCKER.glob("Dockerfile*"))
APPS = [DOCKER / "Dockerfile", DOCKER / "Dockerfile.gpu"]
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SECRET = re.compile(r"(password|token|api_?key)\s*[=:]\s*[^\s$\"{]", re.IGNORECASE)


def sent(path: str) -> bool:
    """Whether .dockerignore lets a file of the repository go to the build."""
    out = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.lstrip("!")
            parts = [Path(path), *Path(path).parents]
            if any(fnmatch.fnmatch(str(part), pattern) or Path(pattern) == part for part in parts):
                out = line.startswith("!")
    return out


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_everything_copied_is_in_the_repository(file: Path) -> None:
    for stage in stages(file):
        for *sources, _ in stage.copied():
            for source in sources:
                assert (ROOT / source).exists(), source
                assert sent(source), f"{source} is left out by .dockerignore"
    for kept_back in (".git/config", "runs/x/model.safetensors", "tests/conftest.py", "docker/secret.txt"):
        assert not sent(kept_back)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_it_runs_as_a_user_and_can_be_asked_whether_it_lives(file: Path) -> None:
    last = stages(file)[-1]
    [user], [_], [command] = (last.values(name) for name in ("USER", "HEALTHCHECK", "CMD"))
    assert int(user) > 0
    assert f"--uid {user} " in last.values("RUN")[-1]
    assert last.steps.index(("USER", user)) > max(
        i for i, (name, _) in enumerate(last.steps) if name in ("RUN", "COPY")
    )
    [program] = exec_form(command)
    assert os.access(DOCKER / program, os.X_OK)
    assert any(f"docker/{program}" in sources for sources in last.copied())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_images_have_a_version_and_no_secret(file: Path) -> None:
    for stage in stages(file):
        image = stage.image.split()[0]
        assert re.search(r":[\w.-]*\d", image), f"{image} has no version"
        assert "/" not in image  # an official image, of no registry by name
        assert not stage.values("ADD")
    for text in (file, DOCKER / "compose.yaml", DOCKER / "orthanc.json", *DOCKER.glob("*.sh")):
        assert not SECRET.search(text.read_text()), text


@pytest.mark.parametrize("file", APPS, ids=lambda file: file.name)
def test_it_installs_the_locked_versions_of_the_app(file: Path) -> None:
    build, last = stages(file)
    assert build.image.split()[0] == last.image.replace("-slim", "")
    python = re.search(r"python:(\d+\.\d+)", last.image)
    assert python
    install = next(words for words in build.commands() if "--extra" in words)
    option = dict(zip(install, install[1:]))
    assert option["--constraint"] == "requirements/label.txt"
    assert option["--extra"] in PROJECT["optional-dependencies"]
    assert (file.name == "Dockerfile") == (option.get("--torch-backend") == "cpu")
    versions = locked("label", python[1])
    for words in build.commands():
        if "uninstall" in words:
            assert set(words[words.index("/opt/mimo") + 1 :]) <= set(versions)
    assert "uv==" in (ROOT / "requirements" / "tools.txt").read_text()
    own = build.commands()[-1]
    assert own[-2:] == ["--no-deps", "."]
    trees = {sources[0] for sources in build.copied()}
    assert {"monai_mimo", "transforms", "monailabel_app"} <= trees
    assert last.environment()["PATH"].startswith("/opt/mimo/bin:")


def test_the_two_images_of_the_app_differ_in_torch_alone() -> None:
    def steps(file: Path) -> list[list[tuple[str, str]]]:
        return [[(name, value.replace(" --torch-backend cpu", "")) for name, value in s.steps] for s in stages(file)]

    assert steps(APPS[0]) == steps(APPS[1])


def test_the_start_script_uses_options_that_exist() -> None:
    script = (DOCKER / "start_app.sh").read_text()
    assert "mimo" in PROJECT["scripts"]
    from monai_mimo.cli import main

    with pytest.raises(SystemExit):
        main(["app", "--help"])
    used = set(re.findall(r"--conf (\w+)", script))
    source = (ROOT / "monailabel_app" / "main.py").read_text()
    assert used
    assert all(f'conf.get("{name}"' in source for name in used)


def test_ports_are_open_to_this_machine_only() -> None:
    for name, service in COMPOSE["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name}: {port}"
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert "privileged" not in service
        assert "network_mode" not in service


def image_of(service: dict) -> Stage:
    build = service.get("build") or next(
        s["build"] for s in COMPOSE["services"].values() if s["image"] == service["image"] and "build" in s
    )
    assert (DOCKER / build["context"]).resolve() == ROOT
    return stages(ROOT / build["dockerfile"])[-1]


def test_services_fit_their_images() -> None:
    services = COMPOSE["services"]
    for service in services.values():
        image = image_of(service)
        for port in service.get("ports", []):
            assert port.split(":")[-1] in image.values("EXPOSE")
        for volume in service["volumes"]:
            name, place, *_ = volume.split(":")
            assert name in COMPOSE["volumes"]
            assert place in " ".join(image.values("RUN"))  # made there, and so owned by the user
        for other, wanted in service.get("depends_on", {}).items():
            assert wanted["condition"] != "service_healthy" or image_of(services[other]).values("HEALTHCHECK")
    start = (DOCKER / "start_app.sh").read_text()
    assert all(f"${{{name}:-" in start for name in services["app"]["environment"])
    config = json.loads((DOCKER / "orthanc.json").read_text())
    assert config["AuthenticationEnabled"]
    [(user, password)] = config["RegisteredUsers"].items()
    assert password == "${ORTHANC_PASSWORD}"
    assert f"MONAI_LABEL_DICOMWEB_USERNAME={user}\n" in start
    assert f'USER = "{user}"' in (DOCKER / "load_studies.py").read_text()
    assert services["app"]["environment"]["STUDIES"] == f"http://orthanc:{config['HttpPort']}/dicom-web"
    program, script, url, *_ = services["phantom"]["command"]
    assert program == "python"
    assert any(
        f"docker/{Path(script).name}" in words and words[-1] == f"{Path(script).parent}/"
        for words in image_of(services["phantom"]).copied()
    )
    assert url == f"http://orthanc:{config['HttpPort']}"


@pytest.mark.parametrize("script", sorted(DOCKER.glob("*.sh")), ids=lambda file: file.name)
def test_scripts_are_sh(script: Path) -> None:
    subprocess.run(["sh", "-n", str(script)], check=True)


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="no hadolint (make lint has one of its own)")
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_hadolint(file: Path) -> None:
    done = subprocess.run(["hadolint", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
