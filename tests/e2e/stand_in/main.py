"""A MONAI Label app whose model paints exactly what it was pointed at: for tests of the viewer alone.

Its answers follow from the request, so a test knows each voxel that must be shown. It takes the same requests as the real
app's `mimo_ask` and answers in the same form.
"""

from __future__ import annotations

import os
import tempfile
import time
from typing import Any

import nrrd
import numpy as np
import SimpleITK
from monailabel.app import app as server
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.exception import MONAILabelError, MONAILabelException
from monailabel.interfaces.tasks.infer_v2 import InferTask

from monailabel_app.lib.ohif_routes import add_panel  # of the repository, which PYTHONPATH names

HTML = "<img src=x onerror='window.pwned=1'><script>window.pwned=2</script>"


class Ask(InferTask):
    """A box and a scribble are painted as they are, a point as a 3 x 3 square; the words of the question can ask for trouble."""

    def __init__(self) -> None:
        super().__init__("vqa", ["box", "point"], 2, "A stand-in that paints what it is pointed at")

    def is_valid(self) -> bool:
        return True

    def __call__(self, request: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        question = request.get("question", "")
        if "break" in question:
            raise MONAILabelException(MONAILabelError.INFERENCE_ERROR, "The stand-in was asked to break.")
        if "slow" in question:
            time.sleep(20)
        image = SimpleITK.ReadImage(request["image"])
        voxels = np.zeros(image.GetSize(), np.uint8)
        k = int(request["slice"])
        entities: list[dict[str, Any]] = []
        answer = "This is"

        def paint(phrase: str, where: tuple[Any, Any], score: float) -> None:
            nonlocal answer
            label = len(entities) + 1
            voxels[(*where, k)] = label
            answer += " the " if label == 1 else " and the "
            status = "shown" if score >= 0.5 else "uncertain"
            start = len(answer)
            answer += phrase
            span = [start, len(answer)]
            entities.append(
                {"phrase": phrase, "span": span, "label": label, "score": score, "status": status, "slice": k}
            )

        if request.get("bbox"):
            i0, j0, _, i1, j1, _ = request["bbox"]
            paint(HTML if "html" in question else "boxed region", (slice(i0, i1), slice(j0, j1)), 0.93)
        for i, j, _ in request.get("foreground") or []:
            paint("pointed spot", (slice(i - 1, i + 2), slice(j - 1, j + 2)), 0.31)
        if line := request.get("foreground_scribble"):
            i, j, _ = np.transpose(line)
            paint("scribbled line", (i, j), 0.7)
        if not entities:
            answer = f"Nothing was pointed at on slice {k}"
        answer += "."
        handle, path = tempfile.mkstemp(suffix=".nrrd")
        os.close(handle)
        directions = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
        header = {
            "space": "left-posterior-superior",
            "space directions": directions.T,
            "space origin": np.array(image.GetOrigin()),
        }
        nrrd.write(path, voxels, header)
        names = {entity["phrase"]: entity["label"] for entity in entities}
        notice = "For research use only."
        return path, {"answer": answer, "entities": entities, "warnings": [], "notice": notice, "label_names": names}


class App(MONAILabelApp):
    """The server of the tests."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        super().__init__(app_dir, studies, conf, name="stand-in", description="stand-in")
        add_panel(server.router.routes)

    def _download_dcmqi_tools(self) -> None:
        """Not needed here, and not to be had without a network."""

    def info(self) -> dict[str, Any]:
        """With a model, as the real app has it."""
        return {**super().info(), "model": {"name": "stand-in", "weights": "none", "hash": "0"}}

    def init_infers(self) -> dict[str, InferTask]:
        return {"mimo_ask": Ask()}
