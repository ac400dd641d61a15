"""Requests that no viewer would send: the answer is always 2xx or 4xx, and a good request is still answered afterwards.

The usual run makes a few hundred. `MIMO_FUZZ=2000 pytest tests/monailabel_app/test_fuzz.py` makes so many, and also holds the
server's memory against what it was after the first tenth.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from .conftest import BrightSpot, infer

REQUESTS = int(os.environ.get("MIMO_FUZZ", "200"))
SPOT = [3, 4, 2]

numbers = st.one_of(
    st.integers(-3, 12),
    st.integers(),
    st.floats(),
    st.sampled_from([1e308, -1e308, 2**63, 2**64, -(2**63), 10**400, 0.5, -0.0]),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=40))
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=6), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)
inside = st.integers(0, 4)
voxels = st.one_of(
    st.lists(st.tuples(inside, inside, inside).map(list), max_size=3),
    st.lists(st.lists(st.one_of(inside, numbers), min_size=2, max_size=3), max_size=6),
)
NAMES = [
    *(
        "foreground",
        "background",
        "roi",
        "bbox",
        "label",
        "labels",
        "slice",
        "question",
        "plane",
        "model",
        "image",
        "session",
    ),
    *(
        "result_extension",
        "result_compress",
        "result_dtype",
        "result_write_to_file",
        "save_label",
        "label_tag",
        "timeout",
    ),
]
likely = st.fixed_dictionaries(
    {},
    optional={
        "foreground": voxels,
        "background": voxels,
        "roi": st.lists(numbers, min_size=6, max_size=6),
        "bbox": st.lists(numbers, min_size=4, max_size=6),
        "slice": st.one_of(inside, numbers),
        "label": st.one_of(st.text(max_size=30), st.lists(st.text(max_size=10), max_size=4)),
        "question": st.text(max_size=1200),
    },
)
good = st.fixed_dictionaries(
    {"foreground": st.lists(st.tuples(inside, inside, inside).map(list), min_size=1, max_size=4)},
    optional={"slice": inside, "plane": st.sampled_from(["auto", "coronal"]), "question": st.text(max_size=60)},
)
params = st.one_of(good, likely, st.dictionaries(st.sampled_from(NAMES), anything, max_size=6), anything).map(
    json.dumps
)
texts = st.one_of(params, params, params, st.text(max_size=60), st.just("[" * 5000))
images = st.one_of(
    st.just("case"), st.just("case"), st.text(max_size=30), st.sampled_from(["../case", "/etc/passwd", ".", "\0", ""])
)
tasks = st.one_of(
    st.sampled_from(["mimo_click", "mimo_volume", "mimo_segment", "mimo_ask"]), st.text(min_size=1, max_size=12)
)
OTHERS = [
    ("GET", "/info/"),
    ("GET", "/datastore/"),
    ("GET", "/datastore/image"),
    ("HEAD", "/datastore/image"),
    ("GET", "/datastore/label"),
    ("GET", "/datastore/image/info"),
    ("PUT", "/datastore/image/info"),
    ("GET", "/datastore/label/info"),
    ("PUT", "/datastore/label/info"),
    ("PUT", "/datastore/updatelabelinfo"),
    ("PUT", "/datastore/label"),
    ("PUT", "/datastore/image"),
    ("DELETE", "/datastore/label"),
    ("GET", "/datastore/dataset"),
    ("POST", "/activelearning/random"),
    ("GET", "/session/x"),
    ("GET", "/proxy/dicom/studies"),
    ("GET", "/model/mimo_ask"),
    ("GET", "/model/info/mimo_ask"),
    ("POST", "/decision"),
]


def resident() -> int:
    """Bytes of this process in memory; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@pytest.fixture
def client(start: Callable[..., Any], tmp_path: Path) -> Any:
    folder = tmp_path / "studies"
    folder.mkdir()
    values = np.full((8, 9, 5), -500, dtype=np.int16)
    values[tuple(SPOT)] = 1000
    nib.save(nib.Nifti1Image(values, np.diag([1, 1, 4, 1])), folder / "case.nii.gz")
    return start(folder, BrightSpot())


def fuzz(client: Any, count: int, arguments: dict[str, Any], send: Callable[..., Any]) -> None:
    """Send `count` requests, and then a good one."""
    statuses: Counter[int] = Counter()
    memory: list[int] = []

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    @given(**arguments)
    def run(**values: Any) -> None:
        status = send(**values).status_code
        statuses[status] += 1
        memory.append(resident())
        assert 200 <= status < 300 or 400 <= status < 500, values

    client.put("/datastore/image", params={"image": "x"}, files={"file": ("x.nrrd", b"x")})  # loads ITK, 300 MB, once
    logging.disable(logging.CRITICAL)  # pytest keeps each record, with all that its traceback holds
    try:
        run()
    finally:
        logging.disable(logging.NOTSET)
    said = infer(client, "mimo_click", "case", foreground=[SPOT])
    assert said["entities"][0]["box"] == [3, 4, 2, 4, 5, 3]
    assert sum(statuses.values()) >= count * 0.9
    assert len(statuses) > 2
    if count >= 1000 and memory[0]:
        assert memory[-1] < 1.1 * memory[len(memory) // 10]
    print(dict(statuses), f"{memory[len(memory) // 10] >> 20} MB after a tenth, {memory[-1] >> 20} MB at the end")


def test_infer(client: Any) -> None:
    def send(task: str, image: str, text: str, output: str) -> Any:
        path = "/infer/" + "".join(f"%{b:02x}" for b in task.encode("utf-8", "replace"))
        return client.post(path, params={"image": image, "output": output}, data={"params": text})

    outputs = st.sampled_from(["json", "image", "all", "dicom_seg", "x"])
    fuzz(client, REQUESTS, {"task": tasks, "image": images, "text": texts, "output": outputs}, send)


def test_the_other_routes(client: Any) -> None:
    def send(route: tuple[str, str], query: dict, fields: dict, name: str, data: bytes) -> Any:
        method, path = route
        files = {"label": (name, data), "file": (name, data)} if method == "PUT" and len(data) % 2 else None
        if path == "/decision":
            return client.request(method, path, json=query)
        body = {"data": fields, "files": files} if method == "PUT" else {}
        return client.request(method, path, params=query, **body)

    names = st.sampled_from(["image", "label", "tag", "id", "output", "check_sum", "limit_cases", "params", "info"])
    values = st.one_of(st.just("case"), st.just("final"), st.text(max_size=20), st.integers().map(str))
    fuzz(
        client,
        REQUESTS,
        {
            "route": st.sampled_from(OTHERS),
            "query": st.dictionaries(names, values, max_size=5),
            "fields": st.dictionaries(st.sampled_from(["params", "info"]), texts, max_size=2),
            "name": st.sampled_from(["a.nii.gz", "a.nrrd", "../../a.nii.gz", "a", "a.exe", "ä.nii"]),
            "data": st.binary(max_size=200),
        },
        send,
    )
