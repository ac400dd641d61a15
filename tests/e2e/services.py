"""Start and stop the programs that an end-to-end test needs; each on a free port, each stopped by its id."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

ORTHANC = shutil.which("Orthanc") or next((p for p in ("/usr/sbin/Orthanc",) if Path(p).exists()), None)
ORTHANC_PLUGINS = Path("/usr/share/orthanc/plugins")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def missing() -> list[str]:
    """What is not on this machine, in words."""
    out = []
    if ORTHANC is None:
        out.append("Orthanc (apt-get install orthanc)")
    if not (ORTHANC_PLUGINS / "libOrthancDicomWeb.so").exists():
        out.append("Orthanc's DICOMweb plugin (apt-get install orthanc-dicomweb)")
    if CHROMIUM is None:
        out.append("Chromium (apt-get install chromium)")
    for module, package in (("monailabel", "monai-mimo[label]"), ("playwright", "playwright")):
        if subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, check=False).returncode:
            out.append(f"{module} (pip install '{package}')")
    return out


def free_port() -> int:
    """A port that nothing listens on just now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def get(url: str, timeout_s: float = 10) -> bytes:
    """The body at `url`."""
    with urllib.request.urlopen(url, timeout=timeout_s) as response:
        return bytes(response.read())


def wait_until(true: Callable[[], object], what: str, seconds: float = 120) -> None:
    """Ask again until `true()` is true.

    Raises:
        TimeoutError: it did not become so.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError, urllib.error.URLError):
            if true():
                return
        time.sleep(0.25)
    raise TimeoutError(f"{what}: not within {seconds:g} s")


@contextlib.contextmanager
def running(command: list[str], log: Path, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A program with its output in `log`; stopped by its id at the end."""
    with open(log, "ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=env)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Orthanc:
    """An Orthanc with DICOMweb, its data in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.port, self.folder = free_port(), folder
        self.url = f"http://127.0.0.1:{self.port}"
        self.dicomweb = f"{self.url}/dicom-web"
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "Name": "mimo-e2e",
            "HttpPort": self.port,
            "DicomPort": free_port(),
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [str(ORTHANC_PLUGINS / "libOrthancDicomWeb.so")],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
        }
        (folder / "orthanc.json").write_text(json.dumps(config))

    @contextlib.contextmanager
    def run(self) -> Iterator[Orthanc]:
        """Serve until the block ends."""
        assert ORTHANC is not None
        with running([ORTHANC, str(self.folder / "orthanc.json")], self.folder / "orthanc.log"):
            wait_until(lambda: get(f"{self.url}/system"), "Orthanc")
            yield self

    def store(self, folder: Path) -> None:
        """Send all DICOM files below `folder`."""
        for path in sorted(folder.rglob("*.dcm")):
            request = urllib.request.Request(f"{self.url}/instances", path.read_bytes(), method="POST")
            with urllib.request.urlopen(request, timeout=60) as response:
                response.read()

    def series(self, modality: str) -> list[str]:
        """Orthanc's ids of the series of one modality."""
        found = (json.loads(get(f"{self.url}/series/{i}")) for i in json.loads(get(f"{self.url}/series")))
        return [series["ID"] for series in found if series["MainDicomTags"].get("Modality") == modality]

    def file_of(self, series: str) -> bytes:
        """The first DICOM file of a series."""
        instance = json.loads(get(f"{self.url}/series/{series}"))["Instances"][0]
        return get(f"{self.url}/instances/{instance}/file")


class LabelServer:
    """MONAI Label's server with an app, as `monailabel start_server` runs it."""

    def __init__(self, app: Path, studies: str, folder: Path, conf: dict[str, str] | None = None) -> None:
        self.port, self.folder = free_port(), folder
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        copy = shutil.copytree(
            app, folder / "app", ignore=shutil.ignore_patterns("__pycache__", "logs")
        )  # it writes there
        self.command = [
            sys.executable,
            "-m",
            "monailabel.main",
            "start_server",
            "--app",
            str(copy),
            "--studies",
            studies,
        ]
        self.command += ["--host", "127.0.0.1", "--port", str(self.port)]
        for key, value in (conf or {}).items():
            self.command += ["--conf", key, value]

    @contextlib.contextmanager
    def run(self) -> Iterator[LabelServer]:
        """Serve until the block ends."""
        env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        env |= {"MONAI_LABEL_DICOMWEB_CACHE_PATH": str(self.folder / "cache"), "HOME": str(self.folder)}
        env |= {"MONAI_LABEL_DICOMWEB_CACHE_EXPIRY": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        with running(self.command, self.log, env) as process:

            def ready() -> bool:
                if process.poll() is not None:
                    raise RuntimeError(f"the server stopped:\n{self.log.read_text()[-3000:]}")
                return bool(get(f"{self.url}/info/", 60))

            wait_until(ready, "MONAI Label", 300)
            yield self
