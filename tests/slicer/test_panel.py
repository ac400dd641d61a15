"""The module's panel from the first click to the saved label, with the real server and a stand-in for 3D Slicer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("monailabel")

from ..monailabel_app.conftest import oblique_affine
from .conftest import SPOT, Served, spot


class User:
    """What a person does in the panel, and what there is to see."""

    def __init__(self, module: Any, slicer: Any, served: Served) -> None:
        self.slicer, self.served = slicer, served
        self.widget = module.MIMOWidget()
        self.widget.setup()
        self.ui = self.widget.ui
        self.logic = self.widget.logic
        self.ui.serverEdit.enter(served.address)

    def load(self) -> Any:
        self.ui.imageSelector.choose(0)
        self.ui.loadButton.click()
        return self.widget.volume()

    @property
    def said(self) -> str:
        return str(self.ui.messageLabel.text)

    def point(self, kind: str, voxel: Any) -> None:
        """Click on a voxel."""
        getattr(self.ui, f"{kind}Button").click()
        assert self.slicer.markups.placing is True
        node = self.slicer.markups.active
        node.points = np.vstack([node.points, (oblique_affine() @ [*voxel, 1])[:3]])

    def box(self, low: Any, high: Any) -> None:
        """Draw a box between two voxels."""
        self.ui.boxButton.click()
        assert self.slicer.markups.placing is False
        node = self.slicer.markups.active
        corners = np.array([(oblique_affine() @ [*v, 1])[:3] for v in (low, high)])
        node.to_ras = np.eye(4)
        node.to_ras[:3, 3] = corners.mean(axis=0)
        node.SetSize(*np.abs(corners[1] - corners[0]))

    def paint(self, name: str, voxel: Any) -> None:
        self.ui.scribbleSection.collapsed = False
        assert self.widget.editor.effect == "Paint"
        segmentation = self.widget.editor.segmentation.segmentation
        segment = segmentation.segments[segmentation.GetSegmentIdBySegmentName(name)]
        voxels = np.zeros((9, 20, 24), np.uint8) if segment.voxels is None else segment.voxels
        voxels[tuple(reversed(voxel))] = 1
        segment.voxels = voxels

    def look_at(self, voxel: Any) -> None:
        """Move all slice views through a voxel; the red one along the slices of the volume."""
        affine = oblique_affine()
        for name, axis in (("Red", 2), ("Yellow", 0), ("Green", 1)):
            view = self.slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceNode{name}")
            columns = np.roll([0, 1, 2], 2 - axis)
            view.to_ras = affine[:, [*columns, 3]].copy()
            view.to_ras[:3, 3] = (affine @ [*voxel, 1])[:3]

    def ask(self, question: str, task: int = 0) -> str:
        self.ui.taskSelector.currentIndex = task
        self.ui.questionEdit.enter(question)
        return str(self.ui.answerBrowser.shown)

    def segments(self, kind: str) -> dict[str, np.ndarray]:
        """The segments in the scene, bool [i, j, k] by name."""
        node = self.logic.find(kind)
        found = node.segmentation.segments.values() if node else ()
        return {s.name: s.voxels.transpose() > 0 for s in found if s.voxels is not None}


@pytest.fixture
def user(module: Any, slicer: Any, served: Served) -> User:
    user = User(module, slicer, served)
    assert user.ui.statusLabel.text == "Ready: MIMO stand-in, weights 000000000000", user.said
    return user


def equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, voxels in found.items():
        np.testing.assert_array_equal(voxels, expected[name])


def test_the_servers_image_is_loaded_where_it_lies(user: User, tmp_path: Path) -> None:
    volume = user.load()
    assert volume.GetName() == "oblique"
    np.testing.assert_allclose(volume.affine, oblique_affine(), atol=1e-5)
    assert list((tmp_path / "temporary").iterdir()) == []
    assert user.ui.nameSelector.items[1:] == ["liver", "spleen"]
    assert user.ui.noticeLabel.text.startswith("Research use only")


def test_a_question_about_the_slice_in_view(user: User) -> None:
    user.load()
    user.look_at((2, 2, 4))
    shown = user.ask("What is bright?")
    assert user.said == "Nothing is marked."
    equal(user.segments("answer"), {"liver": spot((4,))})
    assert 'href="mimo:show/0"' in shown
    assert f"{16 * 1.5 * 1.2 * 4 / 1000:.3g} ml" in shown
    middle = (oblique_affine() @ [SPOT[0] + 1.5, SPOT[1] + 1.5, 4, 1])[:3]
    np.testing.assert_allclose(user.slicer.markups.jumped, [middle], atol=1e-3)
    user.look_at((2, 2, 8))
    user.ask("What is bright?")
    equal(user.segments("answer"), {})


def test_points_decide_what_is_meant(user: User) -> None:
    user.load()
    user.point("positive", (11, 8, 4))
    user.point("negative", (2, 2, 4))
    shown = user.ask("")
    assert "That is the" in shown
    assert user.said == "Marked: 1 positive, 1 negative."
    equal(user.segments("answer"), {"liver": spot((4,))})
    user.ui.clearButton.click()
    user.point("positive", (2, 2, 4))
    user.ask("")
    equal(user.segments("answer"), {})


def test_a_box(user: User) -> None:
    user.load()
    user.look_at((0, 0, 3))
    user.box((9, 6, 2), (14, 11, 5))
    user.ask("")
    equal(user.segments("answer"), {"liver": spot((3,))})


@pytest.mark.parametrize(("voxel", "hit"), [((11, 8, 4), True), ((2, 2, 4), False)])
def test_a_scribble(user: User, voxel: tuple[int, int, int], hit: bool) -> None:
    user.load()
    user.paint("inside", voxel)
    user.paint("outside", (20, 18, 4))
    user.ask("")
    assert user.said == "Marked: a scribble inside, a scribble outside."
    equal(user.segments("answer"), {"liver": spot((4,))} if hit else {})


def test_what_is_marked_is_followed_through_the_volume(user: User) -> None:
    user.load()
    user.ask("", task=1)
    assert user.said.startswith("Mark what you mean")
    user.point("positive", (11, 8, 3))
    user.ask("", task=1)
    equal(user.segments("answer"), {"liver": spot()})


def test_names_in_the_whole_volume(user: User) -> None:
    user.load()
    user.ui.taskSelector.currentIndex = 2
    user.ui.nameSelector.choose(1)
    user.ui.nameSelector.choose(2)
    assert user.ui.questionEdit.text == "liver, spleen"
    shown = user.ask("liver, spleen", task=2)
    equal(user.segments("answer"), {"liver": spot()})
    assert "I found no spleen" in shown
    user.ui.taskSelector.currentIndex = 0
    user.ui.nameSelector.choose(2)
    assert user.ui.questionEdit.text == "Segment the spleen."


def test_accept_reject_undo_redo(user: User) -> None:
    user.load()
    user.look_at((0, 0, 3))
    user.ask("What is bright?")
    user.ui.answerBrowser.follow("mimo:accept/0")
    equal(user.segments("answer"), {})
    equal(user.segments("accepted"), {"liver": spot((3,))})
    user.look_at((0, 0, 4))
    user.ask("And here?")
    user.ui.acceptAllButton.click()
    equal(user.segments("accepted"), {"liver": spot()})
    user.ui.undoButton.click()
    equal(user.segments("answer"), {"liver": spot((4,))})
    equal(user.segments("accepted"), {"liver": spot((3,))})
    user.ui.undoButton.click()
    user.ui.undoButton.click()
    equal(user.segments("answer"), {"liver": spot((3,))})
    equal(user.segments("accepted"), {})
    user.ui.undoButton.click()
    assert not user.ui.undoButton.enabled
    assert user.ui.answerBrowser.shown == ""
    for _ in range(4):
        user.ui.redoButton.click()
    equal(user.segments("accepted"), {"liver": spot()})
    assert not user.ui.redoButton.enabled
    user.ask("Once more?")
    user.ui.rejectAllButton.click()
    equal(user.segments("answer"), {})
    equal(user.segments("accepted"), {"liver": spot()})
    assert "rejected" in user.ui.answerBrowser.shown


def test_marks_come_back_with_undo(user: User) -> None:
    user.load()
    user.point("positive", (11, 8, 4))
    user.box((9, 6, 2), (14, 11, 5))
    user.paint("inside", (11, 8, 4))
    before = user.widget.state(user.widget.volume())
    user.ui.clearButton.click()
    assert not user.widget.state(user.widget.volume()).marks.any
    user.ui.undoButton.click()
    after = user.widget.state(user.widget.volume())
    assert after.marks.inside == before.marks.inside
    np.testing.assert_allclose(after.marks.positive, before.marks.positive)
    np.testing.assert_allclose(after.marks.box, before.marks.box)


def test_accepted_segments_are_saved_as_they_were_edited(user: User) -> None:
    user.load()
    user.look_at((0, 0, 3))
    user.ask("What is SECRET?")
    user.ui.acceptAllButton.click()
    user.ui.saveButton.click()
    assert user.said == "Type your name first: it is saved with what you accepted."
    node = user.logic.find("accepted").segmentation
    [segment] = node.segments.values()
    segment.voxels[4, 7, 10] = 1  # with 3D Slicer's own brush; [k, j, i]
    inner = node.AddEmptySegment("", "tumor", (1, 0, 0))
    node.segments[inner].voxels = np.zeros_like(segment.voxels)
    node.segments[inner].voxels[3, 8, 11] = node.segments[inner].voxels[0, 0, 0] = 1
    user.ui.reviewerEdit.text = "Ada SECRET"
    user.ui.saveButton.click()
    assert user.said == "Saved 2 segments, reviewed by Ada SECRET."

    store = user.served.app.datastore()
    saved = nib_labels(Path(store.get_label_uri("oblique", "final")))
    info = store.get_label_info("oblique", "final")
    held = {
        name: np.isin(saved, [v for n, v in info["label_names"].items() if name in n.split(" ∩ ")])
        for name in ("liver", "tumor")
    }
    liver, tumor = spot((3,)), np.zeros((24, 20, 9), bool)
    liver[10, 7, 4] = tumor[11, 8, 3] = tumor[0, 0, 0] = True
    equal(held, {"liver": liver, "tumor": tumor})
    lines = [json.loads(line) for line in (user.served.studies.parent / "audit.jsonl").read_text().splitlines()]
    assert [line["decision"] for line in lines][-2:] == ["accept", "saved as final"]
    assert "SECRET" not in json.dumps(lines)


def nib_labels(path: Path) -> np.ndarray:
    import nrrd

    return nrrd.read(str(path), index_order="F")[0] if path.suffix == ".nrrd" else np.asarray(nib.load(path).dataobj)


def test_a_volume_of_ones_own(user: User) -> None:
    """It is sent without its name, asked about, sent again when the server has forgotten it, and not saved there."""
    loaded = user.load()
    mine = user.slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "SECRET^NAME")
    mine.image, mine.affine = loaded.image, loaded.affine
    user.ui.volumeSelector.setCurrentNode(mine)
    user.look_at((0, 0, 3))
    user.ask("What is bright?")
    equal(user.segments("answer"), {"liver": spot((3,))})
    sessions = user.served.app.sessions()
    [first] = sessions
    assert Path(sessions[first].image).name == "volume.nrrd"
    user.ask("And now?")
    assert list(sessions) == [first]
    sessions.remove_session(first)
    user.look_at((0, 0, 4))
    user.ask("And after a while?")
    equal(user.segments("answer"), {"liver": spot((4,))})
    assert len(sessions) == 1
    assert first not in sessions
    user.ui.acceptAllButton.click()
    assert not user.ui.saveButton.enabled


def test_a_volume_of_another_server_is_not_saved_on_this_one(user: User) -> None:
    """Though both have an image of that name."""
    volume = user.load()
    assert user.ui.saveButton.enabled
    volume.SetAttribute("MIMO.server", "http://127.0.0.1:9")
    user.look_at((0, 0, 3))
    user.widget.session = None
    user.ask("What is bright?")
    equal(user.segments("answer"), {"liver": spot((3,))})
    assert user.widget.session.image.session
    user.served.app.sessions().remove_session(user.widget.session.image.session)
    assert not user.ui.saveButton.enabled


def test_another_volume_starts_anew_and_loses_nothing(user: User) -> None:
    user.load()
    user.point("positive", (11, 8, 4))
    user.ask("")
    user.ui.acceptAllButton.click()
    user.load()
    assert user.segments("accepted") == {}
    assert not user.widget.state(user.widget.volume()).marks.any
    assert not user.ui.undoButton.enabled
    kept = user.slicer.mrmlScene.GetFirstNodeByName("MIMO accepted before")
    assert [s.name for s in kept.segmentation.segments.values()] == ["liver"]
    user.slicer.mrmlScene.Clear()
    assert user.ui.answerBrowser.shown == ""


def test_what_goes_wrong_is_said_in_the_panel(user: User) -> None:
    user.ask("What?")
    assert user.said == "Connect to a server and choose a volume first."
    volume = user.load()
    user.ask("")
    assert user.said == "Type a question, or mark something on the slice."
    user.point("positive", (100, 8, 4))
    user.ask("")
    assert user.said == "A point lies outside the volume."
    user.ui.clearButton.click()
    user.ask("x" * 1001)
    assert "at most 1000" in user.said
    volume.affine = volume.affine @ np.diag([-1, 1, 1, 1])
    user.widget.session = None
    user.ask("What?")
    assert user.said.startswith("The mask does not lie on the voxels")
    volume.transform = object()
    user.ask("What?")
    assert "Harden the transform" in user.said
    user.ui.serverEdit.enter("http://127.0.0.1:9")
    assert user.said.startswith("The server does not answer")
    assert user.ui.statusLabel.text == "Not connected."
    assert not user.ui.askButton.enabled
    user.ui.serverEdit.enter("127.0.0.1:8000")
    assert "begins with http://" in user.said
    assert user.slicer.cursors == []


def test_the_segment_editor_is_left_alone_outside_the_module(user: User) -> None:
    user.load()
    user.ui.scribbleSection.collapsed = False
    user.widget.enter()
    assert (user.widget.editor.effect, user.widget.editor.keys) == ("Paint", True)
    user.widget.exit()
    assert (user.widget.editor.effect, user.widget.editor.keys) == (None, False)
    user.widget.cleanup()
    assert user.slicer.mrmlScene.observers == []


def test_its_own_test_runs(module: Any) -> None:
    test = module.MIMOTest()
    test.runTest()


def test_what_the_list_of_modules_shows(module: Any) -> None:
    from types import SimpleNamespace

    parent = SimpleNamespace()
    module.MIMO(parent)
    assert (parent.title, parent.categories) == ("MIMO", ["Segmentation"])
    assert "not for diagnosis" in parent.helpText
