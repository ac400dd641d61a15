"""As much of 3D Slicer's Python as the module calls, and no more: an attribute that is not here is an error.

Behaviour as documented in the headers and in slicer/util.py of 3D Slicer (main, 2026-08): arrays of voxels are [k, j, i],
positions RAS.
Names, signals and properties of widgets come from the module's own .ui file.
"""

from __future__ import annotations

import itertools
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nibabel as nib
import numpy as np

# What may be set or read on a widget beside its signals, by its class; from Qt 5, CTK and 3D Slicer.
PROPERTIES: dict[str, dict[str, Any]] = {
    "QLabel": {"text": "", "styleSheet": ""},
    "QLineEdit": {"text": "", "placeholderText": "", "enabled": True},
    "QPushButton": {"enabled": True},
    "QCheckBox": {"enabled": True, "checked": False},
    "QComboBox": {"currentIndex": -1},
    "QTextBrowser": {},
    "QFrame": {},
    "ctkCollapsibleButton": {"collapsed": False},
    "qMRMLNodeComboBox": {},
    "qMRMLWidget": {},
}
SIGNALS = {
    "QPushButton": {"clicked(bool)"},
    "QLineEdit": {"returnPressed()"},
    "QComboBox": {"currentIndexChanged(int)", "activated(int)"},
    "QTextBrowser": {"anchorClicked(QUrl)"},
    "ctkCollapsibleButton": {"contentsCollapsed(bool)"},
    "qMRMLNodeComboBox": {"currentNodeChanged(vtkMRMLNode*)"},
}


class Widget:
    """A widget of the .ui file; setting a property that its class has not is an error, as with PythonQt."""

    def __init__(self, of_class: str, name: str) -> None:
        vars(self).update(of_class=of_class, name=name, listeners={}, items=[], node=None, shown="", children=[])
        vars(self).update(PROPERTIES[of_class])

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in PROPERTIES[self.of_class]:
            raise AttributeError(f"{self.of_class} {self.name} has no property {name}")
        old, vars(self)[name] = vars(self).get(name), value
        if name == "currentIndex" and value != old:
            self.emit("currentIndexChanged(int)", value)
        if name == "collapsed" and value != old:
            self.emit("contentsCollapsed(bool)", value)

    def connect(self, signal: str, listener: Callable[..., None]) -> None:
        if signal not in SIGNALS.get(self.of_class, ()):
            raise AttributeError(f"{self.of_class} has no signal {signal}")
        self.listeners.setdefault(signal, []).append(listener)

    def emit(self, signal: str, *arguments: Any) -> None:
        for listener in self.listeners.get(signal, []):
            listener(*arguments)

    def click(self) -> None:
        assert self.enabled, f"{self.name} is disabled"
        self.emit("clicked(bool)", False)

    def enter(self, text: str) -> None:
        self.text = text
        self.emit("returnPressed()")

    def choose(self, index: int) -> None:
        self.currentIndex = index
        self.emit("activated(int)", index)

    def follow(self, link: str) -> None:
        self.emit("anchorClicked(QUrl)", types.SimpleNamespace(toString=lambda: link))

    # QComboBox

    def addItem(self, text: str) -> None:
        self.items.append(text)
        if self.currentIndex < 0:
            self.currentIndex = 0

    def addItems(self, texts: list[str]) -> None:
        for text in texts:
            self.addItem(text)

    def clear(self) -> None:
        self.items.clear()
        self.currentIndex = -1

    @property
    def currentText(self) -> str:
        return self.items[self.currentIndex] if self.currentIndex >= 0 else ""

    # QTextBrowser, QFrame, qMRMLNodeComboBox, qMRMLWidget

    def setHtml(self, text: str) -> None:
        vars(self)["shown"] = text

    def layout(self) -> Any:
        return types.SimpleNamespace(addWidget=self.children.append)

    def currentNode(self) -> Any:
        return self.node

    def setCurrentNode(self, node: Any) -> None:
        if node is not self.node:
            vars(self)["node"] = node
            self.emit("currentNodeChanged(vtkMRMLNode*)", node)

    def setMRMLScene(self, scene: Any) -> None:
        pass


class Matrix:
    """vtkMatrix4x4."""

    def __init__(self) -> None:
        self.values = np.eye(4)


class ImageData:
    def __init__(self, array: np.ndarray) -> None:
        self.array, self.time = array, next(TIMES)

    def GetDimensions(self) -> tuple[int, ...]:
        return self.array.shape[2::-1]

    def GetMTime(self) -> int:
        return self.time


TIMES = itertools.count()


class Node:
    def __init__(self, name: str) -> None:
        self.name, self.identity, self.attributes = name, f"{type(self).__name__}{next(TIMES)}", {}
        self.transform = None

    def GetID(self) -> str:
        return self.identity

    def GetName(self) -> str:
        return self.name

    def SetName(self, name: str) -> None:
        self.name = name

    def GetAttribute(self, name: str) -> str | None:
        return self.attributes.get(name)

    def SetAttribute(self, name: str, value: str) -> None:
        assert isinstance(value, str)
        self.attributes[name] = value

    def GetParentTransformNode(self) -> Any:
        return self.transform

    def CreateDefaultDisplayNodes(self) -> None:
        self.display = types.SimpleNamespace(SetSelectedColor=lambda r, g, b: None)

    def GetDisplayNode(self) -> Any:
        return self.display


class vtkMRMLScalarVolumeNode(Node):
    image: ImageData | None = None

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.affine = np.eye(4)

    def GetImageData(self) -> ImageData | None:
        return self.image

    def GetIJKToRASMatrix(self, matrix: Matrix) -> None:
        matrix.values = self.affine.copy()

    def SetIJKToRASMatrix(self, matrix: Matrix) -> None:
        self.affine = matrix.values.copy()


class vtkMRMLSliceNode(Node):
    to_ras = np.eye(4)

    def GetSliceToRAS(self) -> Matrix:
        return matrix_of(self.to_ras)


class vtkMRMLMarkupsFiducialNode(Node):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.points = np.zeros((0, 3))


class vtkMRMLMarkupsROINode(Node):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.size, self.to_ras, self.placed = [0.0, 0.0, 0.0], np.eye(4), False

    def GetNumberOfControlPoints(self) -> int:
        return int(self.placed)

    def GetSize(self) -> tuple[float, ...]:
        return tuple(self.size)

    def SetSize(self, x: float, y: float, z: float) -> None:
        self.size, self.placed = [x, y, z], True

    def GetObjectToWorldMatrix(self) -> Matrix:
        return matrix_of(self.to_ras)

    def SetAndObserveObjectToNodeMatrix(self, matrix: Matrix) -> None:
        self.to_ras = matrix.values.copy()


class Segment:
    def __init__(self, name: str, color: Any) -> None:
        self.name, self.color = name, tuple(color)
        self.voxels: np.ndarray | None = None  # [k, j, i]

    def GetName(self) -> str:
        return self.name

    def GetColor(self) -> tuple[float, ...]:
        return self.color

    def SetColor(self, r: float, g: float, b: float) -> None:
        self.color = (r, g, b)


class Segmentation:
    def __init__(self) -> None:
        self.segments: dict[str, Segment] = {}

    def GetNumberOfSegments(self) -> int:
        return len(self.segments)

    def GetNthSegmentID(self, number: int) -> str:
        return list(self.segments)[number]

    def GetSegment(self, identity: str) -> Segment:
        return self.segments[identity]

    def GetSegmentIdBySegmentName(self, name: str) -> str:
        return next((i for i, s in self.segments.items() if s.name == name), "")

    def AddEmptySegment(self, identity: str, name: str, color: Any) -> str:
        identity = identity or f"Segment_{next(TIMES)}"
        self.segments[identity] = Segment(name, color)
        return identity

    def RemoveSegment(self, identity: str) -> None:
        del self.segments[identity]


class vtkMRMLSegmentationNode(Node):
    reference: Any = None

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.segmentation = Segmentation()

    def GetSegmentation(self) -> Segmentation:
        return self.segmentation

    def SetReferenceImageGeometryParameterFromVolumeNode(self, volume: Node) -> None:
        self.reference = volume


class vtkMRMLSegmentEditorNode(Node):
    pass


class Scene:
    EndCloseEvent = "EndCloseEvent"

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.observers: list[tuple[str, Callable[..., None]]] = []
        self.Clear()

    def Clear(self) -> None:
        """All nodes go but the slice views, which 3D Slicer makes anew."""
        self.nodes.clear()
        for name, axis in (("Red", 2), ("Yellow", 0), ("Green", 1)):
            view = vtkMRMLSliceNode(name)
            view.identity = f"vtkMRMLSliceNode{name}"
            view.to_ras = np.eye(4)[:, [*np.roll([0, 1, 2], 2 - axis), 3]]
            self.nodes.append(view)
        for event, method in self.observers:
            method(self, event)

    def AddNewNodeByClass(self, of_class: str, name: str) -> Node:
        node = globals()[of_class](name)
        self.nodes.append(node)
        return node

    def RemoveNode(self, node: Node) -> None:
        self.nodes.remove(node)

    def GetFirstNodeByName(self, name: str) -> Node | None:
        return next((n for n in self.nodes if n.name == name), None)

    def GetNodeByID(self, identity: str) -> Node | None:
        return next((n for n in self.nodes if n.identity == identity), None)

    def GenerateUniqueName(self, name: str) -> str:
        numbered = (name if n == 0 else f"{name}_{n}" for n in itertools.count())
        return next(n for n in numbered if self.GetFirstNodeByName(n) is None)


def matrix_of(values: np.ndarray) -> Matrix:
    matrix = Matrix()
    matrix.values = np.array(values, dtype=float)
    return matrix


class Markups:
    """vtkSlicerMarkupsLogic."""

    def __init__(self) -> None:
        self.active: Node | None = None
        self.placing: bool | None = None
        self.jumped: list[tuple[float, ...]] = []

    def SetActiveList(self, node: Node) -> None:
        self.active = node

    def StartPlaceMode(self, persistent: bool) -> bool:
        self.placing = persistent
        return True

    def JumpSlicesToLocation(self, x: float, y: float, z: float, centered: bool) -> None:
        self.jumped.append((x, y, z))


class Editor:
    """qMRMLSegmentEditorWidget."""

    unorderedEffectsVisible = segmentationNodeSelectorVisible = sourceVolumeNodeSelectorVisible = True
    switchToSegmentationsButtonVisible = True

    def __init__(self) -> None:
        self.effect: str | None = None
        self.segmentation: Any = None
        self.keys = False

    def setMRMLScene(self, scene: Scene) -> None:
        pass

    def setEffectNameOrder(self, names: list[str]) -> None:
        assert set(names) <= {"Paint", "Draw", "Erase", "Threshold"}

    def setMRMLSegmentEditorNode(self, node: vtkMRMLSegmentEditorNode) -> None:
        assert isinstance(node, vtkMRMLSegmentEditorNode)

    def setSegmentationNode(self, node: vtkMRMLSegmentationNode) -> None:
        assert isinstance(node, vtkMRMLSegmentationNode)
        self.segmentation = node

    def setSourceVolumeNode(self, node: vtkMRMLScalarVolumeNode) -> None:
        assert isinstance(node, vtkMRMLScalarVolumeNode)

    def setActiveEffectByName(self, name: str) -> None:
        self.effect = name

    def setActiveEffect(self, effect: None) -> None:
        self.effect = effect

    def installKeyboardShortcuts(self) -> None:
        self.keys = True

    def uninstallKeyboardShortcuts(self) -> None:
        self.keys = False

    def removeViewObservations(self) -> None:
        pass


def install(monkeypatch: Any, module: Path, settings: dict[str, str], temporary: Path) -> types.ModuleType:
    """Put the stand-in where `import slicer` finds it.

    Args:
        module: the module's folder.
        settings: what QSettings holds.
        temporary: where temporary folders are made.

    Returns:
        `slicer`, with what a test wants to look at: `mrmlScene`, `markups` and `cursors`.
    """
    slicer, util, base, vtk, qt = (
        types.ModuleType(n) for n in ("slicer", "slicer.util", "slicer.ScriptedLoadableModule", "vtk", "qt")
    )

    class Base:
        def __init__(self, parent: Any = None) -> None:
            self.parent = parent
            self.layout = types.SimpleNamespace(addWidget=lambda widget: None)

        def setup(self) -> None:
            pass

        def resourcePath(self, name: str) -> str:
            return str(module / "Resources" / name)

    class Logic:
        pass

    class Observing:
        def __init__(self) -> None:
            pass

        def addObserver(self, scene: Scene, event: str, method: Callable[..., None]) -> None:
            scene.observers.append((event, method))

        def removeObservers(self) -> None:
            slicer.mrmlScene.observers.clear()

    def load_ui(path: str) -> Any:
        root = ElementTree.parse(path).getroot()
        widgets = {w.get("name"): Widget(str(w.get("class")), str(w.get("name"))) for w in root.iter("widget")}
        panel = widgets["MIMO"]
        vars(panel)["widgets"] = widgets
        for name, widget in widgets.items():
            found = root.find(f".//widget[@name='{name}']/property[@name='enabled']/bool")
            if found is not None:
                vars(widget)["enabled"] = found.text == "true"
            found = root.find(f".//widget[@name='{name}']/property[@name='collapsed']/bool")
            if found is not None:
                vars(widget)["collapsed"] = found.text == "true"
        return panel

    def array_from_segment(node: Any, identity: str, volume: Any) -> np.ndarray:
        shape = volume.image.array.shape
        voxels = node.segmentation.segments[identity].voxels
        return np.zeros(shape, np.uint8) if voxels is None else voxels.copy()

    def update_segment(array: np.ndarray, node: Any, identity: str, volume: Any) -> None:
        assert array.shape == volume.image.array.shape
        assert node.reference is volume
        node.segmentation.segments[identity].voxels = (array > 0).astype(np.uint8)

    def update_points(node: Any, array: np.ndarray, world: bool = False) -> None:
        assert world
        assert array.ndim == 2
        assert array.shape[1] == 3
        node.points = array.copy()

    def load_volume(path: str, properties: dict[str, Any]) -> Node:
        try:
            image = nib.load(path)
        except nib.filebasedimages.ImageFileError as error:
            raise RuntimeError(path) from error
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", properties["name"])
        volume.image, volume.affine = ImageData(np.asarray(image.dataobj).T), image.affine
        return volume

    def temporary_folder() -> str:
        folder = temporary / f"slicer{next(TIMES)}"
        folder.mkdir()
        return str(folder)

    def update_volume(volume: Any, array: np.ndarray) -> None:
        volume.image = ImageData(array)

    class Settings:
        def value(self, name: str, default: str) -> str:
            return settings.get(name, default)

        def setValue(self, name: str, value: str) -> None:
            settings[name] = value

    util.loadUI, util.childWidgetVariables = load_ui, lambda panel: types.SimpleNamespace(**panel.widgets)  # type: ignore[attr-defined]
    for name, function in (
        ("arrayFromVTKMatrix", lambda matrix: matrix.values.copy()),
        ("vtkMatrixFromArray", matrix_of),
        ("arrayFromVolume", lambda volume: volume.image.array),
        ("updateVolumeFromArray", update_volume),
        ("arrayFromSegmentBinaryLabelmap", array_from_segment),
        ("updateSegmentBinaryLabelmapFromArray", update_segment),
        ("arrayFromMarkupsControlPoints", lambda node, world=False: node.points.copy()),
        ("updateMarkupsControlPointsFromArray", update_points),
        ("loadVolume", load_volume),
        ("tempDirectory", temporary_folder),
        ("VTKObservationMixin", Observing),
    ):
        setattr(util, name, function)
    for name, of_class in (
        ("ScriptedLoadableModule", Base),
        ("ScriptedLoadableModuleWidget", Base),
        ("ScriptedLoadableModuleLogic", Logic),
        ("ScriptedLoadableModuleTest", Logic),
    ):
        setattr(base, name, of_class)
    cursors: list[Any] = []
    vtk.vtkMatrix4x4 = Matrix  # type: ignore[attr-defined]
    qt.Qt, qt.QSettings = types.SimpleNamespace(WaitCursor="wait"), Settings  # type: ignore[attr-defined]
    markups = Markups()
    slicer.mrmlScene, slicer.util, slicer.qMRMLSegmentEditorWidget = Scene(), util, Editor  # type: ignore[attr-defined]
    slicer.markups, slicer.cursors = markups, cursors  # type: ignore[attr-defined]
    slicer.modules = types.SimpleNamespace(markups=types.SimpleNamespace(logic=lambda: markups))  # type: ignore[attr-defined]
    slicer.app = types.SimpleNamespace(setOverrideCursor=cursors.append, restoreOverrideCursor=cursors.pop)  # type: ignore[attr-defined]
    for part in (slicer, util, base, vtk, qt):
        monkeypatch.setitem(sys.modules, part.__name__, part)
    return slicer
