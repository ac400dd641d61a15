"""What docker/compose.yaml starts, started here without containers: its scripts, its Orthanc configuration, its environment."""

from __future__ import annotations

import base64
import gzip
import json
import os
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from .services import free_port, get, running, wait_until

DOCKER = Path(__file__).parents[2] / "docker"
SERVICES = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]


WATCH = """
import os, sys

def watch(event, arguments):
    if event == "socket.connect":
        with open(os.environ["SEEN"], "a") as file:
            print(arguments[1], file=file)

sys.addaudithook(watch)
"""


def test_compose_step_by_step(tmp_path: Path) -> None:
    data, secret = tmp_path / "orthanc", tmp_path / "secret"
    data.mkdir()
    ports = {"orthanc:8042": f"127.0.0.1:{free_port()}", "app": str(free_port())}
    url = f"http://{ports['orthanc:8042']}"
    config = json.loads((DOCKER / "orthanc.json").read_text()) | {"HttpPort": int(url.rsplit(":", 1)[1])}
    (tmp_path / "orthanc.json").write_text(json.dumps(config))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"}
    environment |= {"PYTHONPATH": str(DOCKER.parent)}
    orthanc = environment | {"ORTHANC_CONFIG": str(tmp_path / "orthanc.json")}
    orthanc |= {"ORTHANC_DATA": str(data), "ORTHANC_SECRET": str(secret)}

    def answers(address: str) -> bool:
        try:
            return bool(get(address))
        except urllib.error.HTTPError as error:
            return error.code == 401

    with running([str(DOCKER / "start_orthanc.sh")], tmp_path / "orthanc.log", orthanc):
        wait_until(lambda: answers(f"{url}/system"), "Orthanc")
        assert oct(secret.stat().st_mode)[-3:] == "600"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            get(f"{url}/dicom-web/studies")
        words = [sys.executable, str(DOCKER / "load_studies.py"), *SERVICES["phantom"]["command"][2:]]
        load = [
            w.replace("orthanc:8042", ports["orthanc:8042"]).replace("/secrets/orthanc", str(secret)) for w in words
        ]
        loaded = [subprocess.run(load, capture_output=True, text=True, env=environment, check=False) for _ in range(2)]
        assert [done.returncode for done in loaded] == [0, 0], loaded[0].stderr
        assert int(loaded[0].stdout.split()[0]) > 20
        assert loaded[1].stdout.startswith("0 new")  # a second `up` adds nothing

        home = tmp_path / "home"
        home.mkdir()
        (tmp_path / "watch").mkdir()
        (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)
        app = environment | {
            "PYTHONPATH": f"{tmp_path / 'watch'}:{DOCKER.parent}",
            "SEEN": str(tmp_path / "connections"),
        }
        app |= {"HOME": str(home), "HOST": "127.0.0.1", "PORT": ports["app"]}
        for name, value in SERVICES["app"]["environment"].items():
            app[name] = value.replace("orthanc:8042", ports["orthanc:8042"]).replace("/secrets/orthanc", str(secret))
        with running([str(DOCKER / "start_app.sh")], tmp_path / "app.log", app) as process:
            base = f"http://127.0.0.1:{ports['app']}"

            def ready() -> bool:
                assert process.poll() is None, (tmp_path / "app.log").read_text()[-3000:]
                return bool(get(f"{base}/info/", 60))

            wait_until(ready, "the app", 300)
            assert b"ohif" in get(f"{base}/ohif/").lower()

            def listed(what: str) -> list[dict[str, Any]]:
                body = get(f"{base}/proxy/dicom/qido/{what}", 60)
                found = json.loads(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
                return list(found)

            studies = listed("studies")
            names = {study["00100010"]["Value"][0]["Alphabetic"] for study in studies}
            assert len(names) >= 2
            assert all(name.startswith("PHANTOM^") for name in names)
            [series] = listed(f"studies/{studies[0]['0020000D']['Value'][0]}/series")
            image = series["0020000E"]["Value"][0]
            parameters = urllib.parse.quote(json.dumps({"question": "Where is the liver?"}))
            request = urllib.request.Request(f"{base}/infer/mimo_ask?image={image}&output=json", method="POST")
            request.data = f"params={parameters}".encode()
            with urllib.request.urlopen(request, timeout=300) as response:
                assert json.load(response)["answer"]
        connections = set((tmp_path / "connections").read_text().splitlines())
        assert connections == {f"('127.0.0.1', {url.rsplit(':', 1)[1]})"}  # nothing but its Orthanc
        kept = {path.name for path in home.iterdir()}
        assert {"logs", "cache"} <= kept
    password = secret.read_text()
    assert len(password) == 48
    logged = (tmp_path / "app.log").read_text() + (tmp_path / "orthanc.log").read_text()
    assert password not in logged
    assert base64.b64encode(f"mimo:{password}".encode()).decode() not in logged
