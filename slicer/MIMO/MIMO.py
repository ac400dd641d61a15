"""3D Slicer's side of MIMO: nodes and widgets. What is asked, read, decided and saved is in MIMOLib, which knows no Slicer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import qt
import slicer
import vtk
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from MIMOLib import nrrd
from MIMOLib.answer import html, link, proposed
from MIMOLib.client import Client
from MIMOLib.errors import MimoError
from MIMOLib.geometry import Grid, box_corners, box_of, common_point
from MIMOLib.history import History, State
from MIMOLib.masks import Mask, Segment
from MIMOLib.prompts import NAMES, SLICE, VOLUME, Marks
from MIMOLib.session import Session

TASKS = (
    (SLICE, "Ask about the slice in view", "What is it? Segment the liver. Is there a tumor?"),
    (VOLUME, "Follow what is marked through the volume", "no words are needed"),
    (NAMES, "Find names in the whole volume", "names with commas between; nothing: all that the weights know"),
)
ON_SERVER, SERVER = (
    "MIMO.image",
    "MIMO.server",
)  # attributes of a volume that came from a server: its id there, and which one
GREEN, RED, YELLOW = (0.27, 0.86, 0.35), (1.0, 0.35, 0.31), (1.0, 0.82, 0.24)
KINDS = {  # of nodes: name, class and colour
    "positive": ("MIMO inside", "vtkMRMLMarkupsFiducialNode", GREEN),
    "negative": ("MIMO outside", "vtkMRMLMarkupsFiducialNode", RED),
    "box": ("MIMO box", "vtkMRMLMarkupsROINode", YELLOW),
    "scribbles": ("MIMO scribbles", "vtkMRMLSegmentationNode", None),
    "answer": ("MIMO answer", "vtkMRMLSegmentationNode", None),
    "accepted": ("MIMO accepted", "vtkMRMLSegmentationNode", None),
}
SCRIBBLES = (("inside", GREEN), ("outside", RED))


class MIMO(ScriptedLoadableModule):
    """The module's entry in the list of modules."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "MIMO"
        parent.categories = ["Segmentation"]
        parent.dependencies = ["Markups", "SegmentEditor", "Segmentations"]
        parent.contributors = ["The monai-mimo contributors"]
        parent.helpText = (
            "Ask about a volume in words, with points, a box or a scribble; the phrases of the answer are tied to segments. "
            "A server with the MIMO app of monai-mimo answers. Research use only; not for diagnosis."
        )
        parent.acknowledgementText = "Follows the method of MIMO (Chen et al. 2025). Licence: Apache-2.0."


class MIMOWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. Every action goes through `act`, so that what goes wrong is a sentence in it."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.server = None  # what the server said of itself
        self.address = ""  # of that server
        self.session = None
        self.session_key = None
        self.history = History()
        self.answer = None
        self.answers = ()

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/MIMO.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = MIMOLogic()

        self.editor = slicer.qMRMLSegmentEditorWidget()
        self.editor.setMRMLScene(slicer.mrmlScene)
        self.editor.setEffectNameOrder(["Paint", "Erase"])
        self.editor.unorderedEffectsVisible = False
        self.editor.segmentationNodeSelectorVisible = False
        self.editor.sourceVolumeNodeSelectorVisible = False
        self.editor.switchToSegmentationsButtonVisible = False
        self.ui.scribbleFrame.layout().addWidget(self.editor)

        for _, title, _ in TASKS:
            self.ui.taskSelector.addItem(title)
        settings = qt.QSettings()
        self.ui.serverEdit.text = settings.value("MIMO/server", "http://127.0.0.1:8000")
        self.ui.reviewerEdit.text = settings.value("MIMO/reviewer", "")

        for button, work in (
            (self.ui.connectButton, self.connect_server),
            (self.ui.loadButton, self.load),
            (self.ui.positiveButton, lambda: self.logic.place("positive")),
            (self.ui.negativeButton, lambda: self.logic.place("negative")),
            (self.ui.boxButton, lambda: self.logic.place("box")),
            (self.ui.clearButton, self.clear),
            (self.ui.askButton, self.ask),
            (self.ui.undoButton, self.undo),
            (self.ui.redoButton, self.redo),
            (self.ui.acceptAllButton, lambda: self.decide_all(True)),
            (self.ui.rejectAllButton, lambda: self.decide_all(False)),
            (self.ui.saveButton, self.save),
        ):
            button.connect("clicked(bool)", lambda _checked=False, work=work: self.act(work))
        self.ui.serverEdit.connect("returnPressed()", lambda: self.act(self.connect_server))
        self.ui.questionEdit.connect("returnPressed()", lambda: self.act(self.ask))
        self.ui.taskSelector.connect("currentIndexChanged(int)", lambda _index: self.refresh())
        self.ui.nameSelector.connect("activated(int)", lambda _index: self.act(self.add_name))
        self.ui.volumeSelector.connect("currentNodeChanged(vtkMRMLNode*)", lambda _node: self.act(self.volume_changed))
        self.ui.scribbleSection.connect("contentsCollapsed(bool)", lambda collapsed: self.act(self.scribble, collapsed))
        self.ui.answerBrowser.connect("anchorClicked(QUrl)", lambda url: self.act(self.follow, url.toString()))
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.on_scene_closed)
        self.refresh()

    def on_scene_closed(self, _caller, _event):
        self.act(self.volume_changed)

    def cleanup(self):
        self.removeObservers()

    def enter(self):
        self.editor.installKeyboardShortcuts()

    def exit(self):
        self.editor.setActiveEffect(None)
        self.editor.uninstallKeyboardShortcuts()
        self.editor.removeViewObservations()

    def act(self, work, *arguments):
        """Do something that may take a while or fail."""
        self.say("")
        slicer.app.setOverrideCursor(qt.Qt.WaitCursor)
        try:
            work(*arguments)
        except MimoError as error:
            self.say(str(error), is_error=True)
        finally:
            slicer.app.restoreOverrideCursor()
            self.refresh()

    def say(self, text, is_error=False):
        self.ui.messageLabel.text = text
        self.ui.messageLabel.styleSheet = "color: #c03020" if is_error else ""

    def refresh(self):
        """Enable what can be done now, and show the answer and the marks."""
        volume = self.volume()
        task, _, hint = TASKS[max(self.ui.taskSelector.currentIndex, 0)]
        known = volume is not None and self.server is not None and bool(self.logic.id_on(volume, self.address))
        self.ui.questionEdit.placeholderText = hint
        self.ui.questionEdit.enabled = task != VOLUME
        self.ui.askButton.enabled = self.server is not None and volume is not None
        self.ui.undoButton.enabled = self.history.can_undo
        self.ui.redoButton.enabled = self.history.can_redo
        still_open = bool(self.answer and self.answer.open)
        self.ui.acceptAllButton.enabled = self.ui.rejectAllButton.enabled = still_open
        self.ui.saveButton.enabled = known
        self.ui.reportCheck.enabled = known and self.server.reports
        self.ui.answerBrowser.setHtml(html(self.answer) if self.answer else "")

    # The server and its images.

    def connect_server(self):
        client = Client(self.ui.serverEdit.text)
        self.server, self.session = None, None
        self.ui.statusLabel.text = "Not connected."
        self.server, self.address = client.info(), client.address
        qt.QSettings().setValue("MIMO/server", client.address)
        self.ui.statusLabel.text = f"Ready: {self.server.model}, weights {self.server.weights}"
        self.ui.noticeLabel.text = self.server.notice
        self.ui.nameSelector.clear()
        self.ui.nameSelector.addItems(["Known names ...", *self.server.names])
        self.ui.imageSelector.clear()
        self.ui.imageSelector.addItems(client.images())

    def load(self):
        image = self.ui.imageSelector.currentText
        if not image or self.server is None:
            raise MimoError("Connect first, and choose one of the server's images.")
        volume = self.logic.load(Client(self.address), image)
        self.ui.volumeSelector.setCurrentNode(volume)

    def volume(self):
        return self.ui.volumeSelector.currentNode()

    def volume_changed(self):
        """Another volume: what was marked and answered belonged to the last one."""
        self.session, self.answer, self.answers = None, None, ()
        self.history.clear()
        self.logic.put_aside("accepted")
        for kind in ("positive", "negative", "box", "scribbles", "answer"):
            self.logic.remove(kind)
        if not self.ui.scribbleSection.collapsed:
            self.scribble(False)

    def work(self):
        """The volume and the session about it; a new one where the volume or the server is another."""
        volume = self.volume()
        if volume is None or self.server is None:
            raise MimoError("Connect to a server and choose a volume first.")
        grid = self.logic.grid(volume)
        key = (volume.GetID(), volume.GetImageData().GetMTime(), self.address)
        if self.session is None or self.session_key != key:
            client, known = Client(self.address), self.logic.id_on(volume, self.address)
            self.session = Session(client, grid, known, lambda: self.logic.upload(client, volume))
            self.session_key = key
        return volume, self.session

    # Marks.

    def scribble(self, collapsed):
        """Open or close the editor in which scribbles are painted."""
        if collapsed or self.volume() is None:
            self.editor.setActiveEffect(None)
            return
        self.editor.setMRMLSegmentEditorNode(self.logic.editor_node())
        self.editor.setSegmentationNode(self.logic.scribbles(self.volume()))
        self.editor.setSourceVolumeNode(self.volume())
        self.editor.setActiveEffectByName("Paint")

    def clear(self):
        volume, _ = self.work()
        before = self.state(volume)
        self.history.step(before)
        self.show(volume, State(Marks(), before.answer, before.accepted, before.answers))

    def add_name(self):
        name = self.ui.nameSelector.currentText
        if self.ui.nameSelector.currentIndex > 0:
            words = [word for word in (self.ui.questionEdit.text.strip(), name) if word]
            self.ui.questionEdit.text = ", ".join(words) if self.task() == NAMES else f"Segment the {name}."
        self.ui.nameSelector.currentIndex = 0

    def task(self):
        return TASKS[self.ui.taskSelector.currentIndex][0]

    # Asking, deciding, saving.

    def state(self, volume):
        marks, accepted = self.logic.read(volume)
        return State(marks, self.answer, accepted, self.answers)

    def show(self, volume, state):
        self.answer, self.answers = state.answer, state.answers
        self.logic.show(volume, state)

    def ask(self):
        volume, session = self.work()
        before = self.state(volume)
        after = session.ask(before, self.task(), self.ui.questionEdit.text, self.logic.seen())
        self.history.step(before)
        self.show(volume, after)
        middle = next((e.middle for e in after.answer.entities if e.middle), None)
        if middle:
            self.logic.jump(session.grid.ras(middle))
        self.say(before.marks.words())

    def follow(self, text):
        """A link in the answer."""
        asked = link(text, self.answer)
        if asked is None:
            return
        action, number = asked
        volume, session = self.work()
        if action != "show":
            self.decide(volume, session, [number], action == "accept")
        elif self.answer.entities[number].middle:
            self.logic.jump(session.grid.ras(self.answer.entities[number].middle))

    def decide_all(self, accept):
        volume, session = self.work()
        self.decide(volume, session, self.answer.open if self.answer else [], accept)

    def decide(self, volume, session, numbers, accept):
        state = before = self.state(volume)
        for number in numbers:
            state = session.decide(state, number, accept, self.ui.reviewerEdit.text)
        if state is not before:
            self.history.step(before)
            self.show(volume, state)

    def undo(self):
        volume, _ = self.work()
        self.show(volume, self.history.undo(self.state(volume)))

    def redo(self):
        volume, _ = self.work()
        self.show(volume, self.history.redo(self.state(volume)))

    def save(self):
        volume, session = self.work()
        reviewer = self.ui.reviewerEdit.text
        report = bool(self.ui.reportCheck.enabled and self.ui.reportCheck.checked)
        model = {"name": self.server.model, "hash": self.server.weights}
        said = session.save(self.state(volume), reviewer, model, report)
        qt.QSettings().setValue("MIMO/reviewer", reviewer)
        self.say(said)


class MIMOLogic(ScriptedLoadableModuleLogic):
    """What is in the scene: nodes of our own, by their names."""

    def find(self, kind):
        """The node of a kind, or none."""
        return slicer.mrmlScene.GetFirstNodeByName(KINDS[kind][0])

    def node(self, kind):
        """The node of a kind, made where there is none."""
        name, of_class, color = KINDS[kind]
        node = self.find(kind)
        if node is None:
            node = slicer.mrmlScene.AddNewNodeByClass(of_class, name)
            node.CreateDefaultDisplayNodes()
            if color is not None:
                node.GetDisplayNode().SetSelectedColor(*color)
        return node

    def remove(self, kind):
        node = self.find(kind)
        if node is not None:
            slicer.mrmlScene.RemoveNode(node)

    def put_aside(self, kind):
        """Give a node another name: it is kept, and no longer ours."""
        node = self.find(kind)
        if node is not None:
            node.SetName(slicer.mrmlScene.GenerateUniqueName(f"{node.GetName()} before"))

    def editor_node(self):
        node = slicer.mrmlScene.GetFirstNodeByName("MIMO editor")
        return node or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode", "MIMO editor")

    # Volumes.

    def grid(self, volume):
        """Where the voxels of a volume lie.

        Raises:
            MimoError: it is moved by a transform, or empty.
        """
        if volume.GetParentTransformNode() is not None:
            raise MimoError("This volume is moved by a transform. Harden the transform first.")
        if volume.GetImageData() is None:
            raise MimoError("This volume has no voxels.")
        matrix = vtk.vtkMatrix4x4()
        volume.GetIJKToRASMatrix(matrix)
        return Grid(volume.GetImageData().GetDimensions(), slicer.util.arrayFromVTKMatrix(matrix))

    def load(self, client, image):
        """One of the server's images as a volume that knows its id there."""
        folder = Path(slicer.util.tempDirectory())
        file = client.download(image, folder)
        try:
            volume = slicer.util.loadVolume(str(file), {"name": image, "singleFile": True})
        except RuntimeError as error:
            raise MimoError("3D Slicer cannot read this image.") from error
        finally:
            file.unlink()
            folder.rmdir()
        volume.SetAttribute(ON_SERVER, image)
        volume.SetAttribute(SERVER, client.address)
        return volume

    def id_on(self, volume, address):
        """The id of a volume on a server; none where it did not come from there."""
        return volume.GetAttribute(ON_SERVER) if volume.GetAttribute(SERVER) == address else None

    def upload(self, client, volume):
        """Send a volume to the server.

        Returns:
            What the server calls it.
        """
        return client.upload(nrrd.write(np.transpose(slicer.util.arrayFromVolume(volume)), self.grid(volume)))

    # Views.

    def place(self, kind):
        """Let the user place points of a kind, or a box."""
        if kind == "box":
            self.remove("box")
        markups = slicer.modules.markups.logic()
        markups.SetActiveList(self.node(kind))
        markups.StartPlaceMode(kind != "box")

    def seen(self):
        """A place on all three slices in view, in RAS millimetres, or none."""
        views = [slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceNode{name}") for name in ("Red", "Yellow", "Green")]
        return common_point([slicer.util.arrayFromVTKMatrix(v.GetSliceToRAS()) for v in views if v is not None])

    def jump(self, ras):
        slicer.modules.markups.logic().JumpSlicesToLocation(*ras, False)

    # The state of the scene.

    def read(self, volume):
        """Marks and accepted segments, as they are in the scene now."""
        painted = {s.name: s.mask for s in self.segments("scribbles", volume) if s.mask.count}
        marks = Marks(
            self._points("positive"),
            self._points("negative"),
            self._corners(),
            painted.get("inside"),
            painted.get("outside"),
        )
        return marks, tuple(self.segments("accepted", volume))

    def show(self, volume, state):
        """Make the scene what a state says."""
        for kind, points in (("positive", state.marks.positive), ("negative", state.marks.negative)):
            if points or self.find(kind) is not None:
                array = np.reshape(points, (-1, 3)).astype(float)
                slicer.util.updateMarkupsControlPointsFromArray(self.node(kind), array, world=True)
        self._show_box(state.marks.box)
        self._show_scribbles(state.marks, volume)
        self._show_segments("answer", proposed(state.answer) if state.answer else [], volume)
        self._show_segments("accepted", state.accepted, volume)

    def scribbles(self, volume):
        """The segmentation that holds the scribbles, with its two segments."""
        node = self.node("scribbles")
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        segmentation = node.GetSegmentation()
        for name, color in SCRIBBLES:
            if not segmentation.GetSegmentIdBySegmentName(name):
                segmentation.AddEmptySegment("", name, color)
        return node

    def segments(self, kind, volume):
        """The segments of a node of ours on the voxels of a volume, as they are now: people may have edited them.

        Raises:
            MimoError: they lie elsewhere.
        """
        node = self.find(kind)
        found = []
        shape = self.grid(volume).shape
        for number in range(node.GetSegmentation().GetNumberOfSegments() if node else 0):
            identity = node.GetSegmentation().GetNthSegmentID(number)
            segment = node.GetSegmentation().GetSegment(identity)
            voxels = np.transpose(slicer.util.arrayFromSegmentBinaryLabelmap(node, identity, volume)) > 0
            if voxels.shape != shape:
                if voxels.any():
                    raise MimoError(f"The segment {segment.GetName()!r} lies on other voxels than this volume.")
                voxels = np.zeros(shape, bool)  # of an empty segment 3D Slicer may give an empty array
            found.append(Segment(segment.GetName(), tuple(segment.GetColor()), Mask.of(voxels)))
        return found

    def _show_segments(self, kind, segments, volume):
        """Make a segmentation hold these and no others; those that are there already stay as they are."""
        if not segments:
            self.remove(kind)
            return
        node = self.node(kind)
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        segmentation = node.GetSegmentation()
        there = {s.name: s for s in self.segments(kind, volume)}
        for name in there.keys() - {s.name for s in segments}:
            segmentation.RemoveSegment(segmentation.GetSegmentIdBySegmentName(name))
        for segment in segments:
            old = there.get(segment.name)
            if old == segment:
                continue
            identity = segmentation.GetSegmentIdBySegmentName(segment.name) if old else ""
            identity = identity or segmentation.AddEmptySegment("", segment.name, segment.color)
            segmentation.GetSegment(identity).SetColor(*segment.color)
            self._draw(node, identity, segment.mask.voxels(), volume)

    def _show_scribbles(self, marks, volume):
        """The segments stay, also where nothing is painted: the editor may be open on them."""
        there = {s.name: s.mask for s in self.segments("scribbles", volume)}
        for name, mask in (("inside", marks.inside), ("outside", marks.outside)):
            if mask is None and not (name in there and there[name].count):
                continue
            if mask != there.get(name):
                node = self.scribbles(volume)
                voxels = np.zeros(self.grid(volume).shape, bool) if mask is None else mask.voxels()
                self._draw(node, node.GetSegmentation().GetSegmentIdBySegmentName(name), voxels, volume)

    def _draw(self, node, identity, voxels, volume):
        array = np.ascontiguousarray(np.transpose(voxels)).astype(np.uint8)  # VTK counts [k, j, i]
        slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, identity, volume)

    def _points(self, kind):
        node = self.find(kind)
        if node is None:
            return ()
        return tuple(tuple(map(float, p)) for p in slicer.util.arrayFromMarkupsControlPoints(node, world=True))

    def _corners(self):
        node = self.find("box")
        if node is None or node.GetNumberOfControlPoints() == 0:
            return ()
        to_ras = slicer.util.arrayFromVTKMatrix(node.GetObjectToWorldMatrix())
        return tuple(tuple(corner) for corner in box_corners(node.GetSize(), to_ras))

    def _show_box(self, corners):
        if not corners:
            self.remove("box")
        elif not (self._corners() and np.allclose(self._corners(), corners)):
            size, to_ras = box_of(corners)
            node = self.node("box")
            node.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(to_ras))
            node.SetSize(*size)


class MIMOTest(ScriptedLoadableModuleTest):
    """In 3D Slicer itself: what is put into the scene is read out of it again, and the panel opens. Needs no server."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_scene_holds_a_state()

    def test_scene_holds_a_state(self):
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "volume")
        slicer.util.updateVolumeFromArray(volume, np.zeros((5, 6, 7), np.int16))  # [k, j, i]
        affine = np.array([[0.0, -1.2, 0, 3], [-0.8, 0, 0, 4], [0, 0, 2.5, -5], [0, 0, 0, 1]])
        volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(affine))
        logic = MIMOLogic()
        grid = logic.grid(volume)
        assert grid.shape == (7, 6, 5)
        np.testing.assert_allclose(grid.affine, affine)
        inside, liver, tumor = (np.zeros(grid.shape, bool) for _ in range(3))
        inside[1, 2, 3], liver[2:6, 1:4, 1:4], tumor[3, 2, 2] = True, True, True  # one in the other
        turned = np.array([[0.8, -0.6, 0, 1], [0.6, 0.8, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]])
        box = tuple(map(tuple, box_corners([4, 3, 2], turned)))
        marks = Marks((tuple(grid.ras((1, 2, 3))),), (tuple(grid.ras((4, 4, 1))),), box, Mask.of(inside), None)
        accepted = (
            Segment("liver", (1.0, 0.0, 0.0), Mask.of(liver)),
            Segment("tumor", (0.0, 1.0, 0.0), Mask.of(tumor)),
        )
        logic.show(volume, State(marks, None, accepted))
        read, segments = logic.read(volume)
        assert (read.inside, read.outside) == (marks.inside, None)
        for name in ("positive", "negative", "box"):
            np.testing.assert_allclose(getattr(read, name), getattr(marks, name), atol=1e-4)
        assert [(s.name, s.mask) for s in segments] == [(s.name, s.mask) for s in accepted]
        logic.show(volume, State())
        assert logic.read(volume) == (Marks(), ())
