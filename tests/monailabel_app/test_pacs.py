"""Against a real DICOMweb server, Orthanc, where it is installed (apt-get install orthanc orthanc-dicomweb)."""

from __future__ import annotations

import io
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import pydicom
import pytest
import requests
from highdicom.sr import Comprehensive3DSR

from .conftest import BrightSpot, both_parts, infer
from .make_dicom import write_series
from .test_geometry import affine_of, painted

PLUGINS = Path("/usr/share/orthanc/plugins")
ORTHANC = shutil.which("Orthanc") or next((p for p in ("/usr/sbin/Orthanc",) if Path(p).exists()), None)
pytestmark = pytest.mark.skipif(
    ORTHANC is None or not list(PLUGINS.glob("*DicomWeb*")), reason="Orthanc with its DICOMweb plugin is not installed"
)
SERIES, SPOT = "1.2.3.2", [8, 0, 4]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Orthanc:
    """A server of our own on loopback, that can be stopped and started again with what it holds."""

    def __init__(self, folder: Path) -> None:
        self.port, self.folder = free_port(), folder
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen | None = None
        config = {
            "HttpPort": self.port,
            "DicomPort": free_port(),
            "DicomServerEnabled": False,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [str(PLUGINS)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        folder.mkdir()
        (folder / "orthanc.json").write_text(json.dumps(config))

    def start(self) -> None:
        command = [str(ORTHANC), str(self.folder / "orthanc.json")]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        for _ in range(240):
            try:
                if requests.get(f"{self.url}/dicom-web/studies", timeout=5).ok:
                    return
            except requests.RequestException:
                time.sleep(0.25)
        raise AssertionError((self.folder / "log").read_text()[-2000:])

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    server = Orthanc(tmp_path / "orthanc")
    server.start()
    folder = tmp_path / "series"
    write_series(folder, painted((8, 0, 4)), affine_of("LPS", (1, 1.5, 3), True), [3, 0, 4, 1, 2])
    for file in folder.iterdir():
        requests.post(f"{server.url}/instances", data=file.read_bytes(), timeout=30).raise_for_status()
    yield server
    server.stop()


@pytest.fixture
def client(orthanc: Orthanc, start: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    from monailabel.config import settings

    monkeypatch.setattr(settings, "MONAI_LABEL_DICOMWEB_CACHE_PATH", str(tmp_path / "cache"))
    return start(f"{orthanc.url}/dicom-web", BrightSpot())


def nrrd_of(data: bytes) -> tuple[np.ndarray, Any]:
    stream = io.BytesIO(data)
    header = nrrd.read_header(stream)
    return nrrd.read_data(header, stream), header


def click(client: Any) -> Any:
    return client.post(
        "/infer/mimo_click",
        params={"image": SERIES, "output": "json"},
        data={"params": json.dumps({"foreground": [SPOT]})},
    )


def test_a_label_goes_back_as_dicom_seg(client: Any, orthanc: Orthanc, tmp_path: Path) -> None:
    """At the right place, with its name and code, in the study of its series; and comes back from there."""
    assert client.mimo.datastore().list_images() == [SERIES]
    said, label = infer(client, "mimo_click", SERIES, "all", foreground=[SPOT], result_extension=".nrrd")
    assert said["image"]["modality"] == "CT"
    saved = {"label_names": {"left kidney": 1}, "reviewer": "R", "model": said["model"]}
    response = client.put(
        "/datastore/label",
        params={"image": SERIES, "tag": "final"},
        files={"label": ("l.nrrd", label)},
        data={"params": json.dumps(saved)},
    )
    assert response.status_code == 200, response.text

    found = requests.get(f"{orthanc.url}/instances?expand", timeout=30).json()
    files = [requests.get(f"{orthanc.url}/instances/{i['ID']}/file", timeout=30).content for i in found]
    datasets = [pydicom.dcmread(io.BytesIO(f)) for f in files]
    [seg] = [d for d in datasets if d.Modality == "SEG"]
    assert seg.StudyInstanceUID == "1.2.3.1"
    [segment] = seg.SegmentSequence
    assert segment.SegmentLabel == "left kidney"
    kind = segment.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("64033007", "SCT")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    # the one frame with a pixel lies on the image that was painted
    [frame] = np.argwhere(seg.pixel_array.reshape(-1, seg.Rows, seg.Columns))
    group = seg.PerFrameFunctionalGroupsSequence[frame[0]]
    source = next(d for d in datasets if d.Modality == "CT" and d.pixel_array.max() == 1000)
    assert np.allclose(group.PlanePositionSequence[0].ImagePositionPatient, source.ImagePositionPatient, atol=1e-4)
    assert np.argwhere(source.pixel_array == 1000).tolist() == [frame[1:].tolist()]
    referenced = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
    assert referenced == source.SOPInstanceUID

    # another server, without our copy, takes it over from the PACS
    store = client.mimo.datastore()
    from lib.pacs import Pacs, read_labels

    other = Pacs(store._client, client.mimo.limits, str(tmp_path / "other"), {})
    [pair] = other.datalist()
    assert np.argwhere(read_labels(Path(pair["label"]))).tolist() == [SPOT]
    assert other.get_label_info(SERIES, "final")["label_names"] == {"left kidney": 1}
    # and nothing that tells who the patient is was kept beside the images
    for table in tmp_path.rglob("datastore_v2.json"):
        assert "SECRET" not in table.read_text()

    assert client.get("/datastore/label", params={"label": SERIES, "tag": "final"}).content == label
    assert infer(client, "mimo_click", SERIES, "dicom_seg", foreground=[SPOT])[128:132] == b"DICM"


def test_saved_masks_come_back_with_their_overlaps_and_colours(client: Any, orthanc: Orthanc) -> None:
    """The route of the OHIF panel: what was saved, voxel by voxel; no other series is taken for a SEG."""
    said, label = infer(client, "mimo_click", SERIES, "all", foreground=[SPOT], result_extension=".nrrd")
    data, header = nrrd_of(label)
    data[:] = 0
    data[1:4, 1:4, 2], data[3:6, 1:4, 2], data[3, 1:4, 2] = 1, 2, 3
    file = orthanc.folder / "saved.nrrd"
    nrrd.write(str(file), data, header)
    colors = [{"idx": 1, "name": "liver", "color": [230, 159, 0]}, {"idx": 2, "name": "tumor", "color": [0, 114, 178]}]
    names = {"liver": 1, "tumor": 2, "liver ∩ tumor": 3}
    saved = client.put(
        "/datastore/label",
        params={"image": SERIES, "tag": "final"},
        files={"label": ("l.nrrd", file.read_bytes())},
        data={"params": json.dumps({"label_names": names, "label_info": colors, "model": said["model"]})},
    )
    assert saved.status_code == 200, saved.text
    found = requests.get(f"{orthanc.url}/series?expand", timeout=30).json()
    [seg] = [s["MainDicomTags"]["SeriesInstanceUID"] for s in found if s["MainDicomTags"]["Modality"] == "SEG"]

    reply = client.get("/masks", params={"image": SERIES, "seg": seg})
    assert reply.status_code == 200, reply.text
    params, mask = both_parts(reply)
    back, _ = nrrd_of(mask)
    for name, expected in (("liver", (data == 1) | (data == 3)), ("tumor", (data == 2) | (data == 3))):
        values = [value for names, value in params["label_names"].items() if name in names.split(" ∩ ")]
        assert np.array_equal(np.isin(back, values), expected)
    for entry in colors:
        assert params["colors"][entry["name"]] == pytest.approx(entry["color"], abs=2)
    for other in (SERIES, "1.2.3.9", "../x"):
        assert client.get("/masks", params={"image": SERIES, "seg": other}).status_code in (400, 404)


def test_a_report_goes_with_its_seg(client: Any, orthanc: Orthanc, tmp_path: Path) -> None:
    """One request, two series in the study of the images; what was typed is kept nowhere else."""
    assert client.get("/info/").json()["reports"] is True
    said, label = infer(client, "mimo_click", SERIES, "all", foreground=[SPOT], result_extension=".nrrd")
    words = {"question": "What has SECRET-WORD here?", "answer": said["answer"]}
    params = {"label_names": {"liver": 1}, "reviewer": "R^S", "model": said["model"], "report": [words]}

    def save(**change: Any) -> Any:
        return client.put(
            "/datastore/label",
            params={"image": SERIES, "tag": change.pop("tag", "final")},
            files={"label": ("l.nrrd", label)},
            data={"params": json.dumps({**params, **change})},
        )

    for change, found in (({"reviewer": ""}, "reviewer"), ({"report": "all"}, "report"), ({"tag": "draft"}, "final")):
        refused = save(**change)
        assert refused.status_code == 400
        assert found in refused.json()["detail"]
    assert client.mimo.datastore().get_label_uri(SERIES, "final") == ""
    assert save().status_code == 200

    found = requests.get(f"{orthanc.url}/instances?expand", timeout=30).json()
    files = [requests.get(f"{orthanc.url}/instances/{i['ID']}/file", timeout=30).content for i in found]
    datasets = {d.Modality: d for d in (pydicom.dcmread(io.BytesIO(f)) for f in files)}
    seg, sr = datasets["SEG"], datasets["SR"]
    assert (seg.StudyInstanceUID, sr.StudyInstanceUID) == ("1.2.3.1", "1.2.3.1")
    [group] = Comprehensive3DSR.from_dataset(sr).content.get_volumetric_roi_measurement_groups()
    assert group.referenced_segment.referenced_sop_instance_uid == seg.SOPInstanceUID
    [area] = group.get_measurements()
    assert (area.value, area.unit.value) == (1.5, "mm2")
    info = client.mimo.datastore().get_label_info(SERIES, "final")
    assert (info["SeriesInstanceUID"], info["ReportSeriesInstanceUID"]) == (seg.SeriesInstanceUID, sr.SeriesInstanceUID)
    kept = [f for f in tmp_path.rglob("*") if f.suffix in (".json", ".jsonl")]
    assert kept
    assert not [f for f in kept if "SECRET" in f.read_text(errors="replace")]


def test_it_stops_and_comes_back(client: Any, orthanc: Orthanc) -> None:
    orthanc.stop()
    response = click(client)
    assert response.status_code == 503
    assert "no answer" in response.json()["detail"]
    assert client.get("/info/").status_code == 200
    assert client.get("/proxy/dicom/studies").status_code == 503
    orthanc.start()
    said = click(client)
    assert said.status_code == 200, said.text
    assert said.json()["entities"][0]["box"] == [8, 0, 4, 9, 1, 5]
    orthanc.stop()  # what was brought over can still be asked about, but not saved
    assert click(client).status_code == 200
    label = infer(client, "mimo_click", SERIES, "image", foreground=[SPOT], result_extension=".nrrd")
    response = client.put(
        "/datastore/label", params={"image": SERIES, "tag": "final"}, files={"label": ("l.nrrd", label)}
    )
    assert response.status_code == 503
    assert client.mimo.datastore().get_label_uri(SERIES, "final") == ""


def test_a_transfer_that_is_cut_off_leaves_nothing(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = client.mimo.datastore()
    bring = store._client.retrieve_series

    def cut(*names: Any, **options: Any) -> Iterator[Any]:
        yield bring(*names, **options)[0]
        raise requests.ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(store._client, "retrieve_series", cut)
        assert click(client).status_code == 503
    assert [p for p in Path(store._datastore.image_path()).iterdir() if "fetching" in p.name or p.name == SERIES] == []
    assert click(client).status_code == 200


@pytest.mark.parametrize("image", ["1.2.999", "../x", "1.2.3.2/../x", "x" * 70, "*"])
def test_unknown_series(client: Any, image: str) -> None:
    response = client.post("/infer/mimo_click", params={"image": image}, data={"params": '{"foreground": [[0, 0, 0]]}'})
    assert response.status_code == 404
