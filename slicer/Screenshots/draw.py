"""Draws panel.png: the module's panel by Qt alone, without 3D Slicer, with a real answer of the server.

    pip install PySide6-Essentials numpy requests
    python slicer/Screenshots/draw.py reply.json image.nrrd slicer/Screenshots/panel.png

The reply and the label map are those of `POST /infer/mimo_ask?output=all`, the reply with the `question` and the image's `id`
added. What belongs to 3D Slicer is drawn as a plain frame: its collapsible sections, its list of volumes and its segment editor.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
MODULE = Path(__file__).resolve().parents[1] / "MIMO"
sys.path.insert(0, str(MODULE))

from PySide6.QtUiTools import QUiLoader  # noqa: E402
from PySide6.QtWidgets import QApplication, QComboBox, QGroupBox, QWidget  # noqa: E402

from MIMOLib import nrrd  # noqa: E402
from MIMOLib.answer import html, read_answer  # noqa: E402


class Loader(QUiLoader):
    """With frames for the widgets of 3D Slicer."""

    def createWidget(self, name, parent=None, objectName=""):
        of_slicer = {"qMRMLWidget": QWidget, "ctkCollapsibleButton": QGroupBox, "qMRMLNodeComboBox": QComboBox}
        if name not in of_slicer:
            return super().createWidget(name, parent, objectName)
        widget = of_slicer[name](parent)
        widget.setObjectName(objectName)
        return widget


def main(reply: str, label: str, out: str) -> None:
    """Draw a picture of the panel after an answer."""
    app = QApplication([])
    app.setStyle("Fusion")
    panel = Loader().load(str(MODULE / "Resources" / "UI" / "MIMO.ui"))

    def part(name: str) -> QWidget:
        return panel.findChild(QWidget, name)

    for box in panel.findChildren(QGroupBox):
        title = next(e for e in SECTIONS if e[0] == box.objectName())[1]
        box.setTitle(title)
    said = json.loads(Path(reply).read_text())
    labels, grid = nrrd.read(Path(label).read_bytes())
    answer = read_answer(said["question"], said, (labels, grid), grid)
    part("serverEdit").setText("http://127.0.0.1:8000")
    part("statusLabel").setText(f"Ready: {said['model']['name']}, weights {said['model']['hash']}")
    part("imageSelector").addItem(said["id"])
    part("volumeSelector").addItem(said["id"])
    part("scribbleFrame").hide()
    part("taskSelector").addItem("Ask about the slice in view")
    part("nameSelector").addItem("Known names ...")
    part("questionEdit").setText(answer.question)
    part("messageLabel").setText("Nothing is marked.")
    part("answerBrowser").setHtml(html(answer))
    part("noticeLabel").setText(said["notice"])
    for name in ("askButton", "undoButton", "acceptAllButton", "rejectAllButton", "saveButton"):
        part(name).setEnabled(True)
    panel.resize(420, 860)
    panel.show()
    app.processEvents()
    panel.grab().save(out)


SECTIONS = (
    ("serverSection", "Server and volume"),
    ("marksSection", "Marks"),
    ("scribbleSection", "Scribble"),
    ("askSection", "Question"),
    ("answerSection", "Answer"),
    ("saveSection", "Accepted"),
)

if __name__ == "__main__":
    main(*sys.argv[1:])
