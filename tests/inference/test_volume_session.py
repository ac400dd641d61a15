"""One object of a volume, corrected: a prompt and the answer on the same voxels, undo, redo, taking back, saving."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_mimo.data.prompt_maps import RegionPrompts
from monai_mimo.errors import InputError
from monai_mimo.inference import MimoPredictor
from monai_mimo.inference.encoded_volume import EncodedVolume
from monai_mimo.inference.volume import places
from monai_mimo.inference.volume_answer import Structure
from monai_mimo.inference.volume_correction import pull
from monai_mimo.inference.volume_session import VolumeSession

from ..conftest import make_nano
from .test_volume import oblique, opened

SHAPE = (16, 18, 8)
Click = tuple[tuple[int, int, int], bool]
VOXELS = st.tuples(*(st.integers(0, n - 1) for n in SHAPE))
CLICKS = st.lists(st.tuples(VOXELS, st.booleans()), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def predictor() -> MimoPredictor:
    """With a name, so that sessions can be opened; what is far from the mask is not asked for here."""
    torch.manual_seed(0)
    predictor = MimoPredictor(make_nano())

    class Names:
        names = ("region",)

    predictor.model.region_names = Names()  # type: ignore[assignment]
    return predictor


@pytest.fixture(autouse=True)
def near(monkeypatch: pytest.MonkeyPatch) -> None:
    def shown(
        volume: EncodedVolume, prompts: dict[int, RegionPrompts], phrase: str | None
    ) -> tuple[Structure, np.ndarray]:
        """Of an empty mask: a square around each click inside."""
        frames = np.zeros(volume.shape, dtype=bool)
        for number, row, column in places(prompts, label=1):
            frames[number, max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3] = True
        return Structure(phrase or "region", {}, {0: 0.5}), frames

    monkeypatch.setattr("monai_mimo.inference.volume_correction.FAR", 1000)
    monkeypatch.setattr("monai_mimo.inference.volume_session.shown", shown)


def two_parts() -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[2:8, 2:9, 1:7] = mask[11:14, 11:14, 3:6] = True
    return mask


def session_of(predictor: MimoPredictor, affine: np.ndarray | None = None) -> VolumeSession:
    affine = np.diag([-1.0, -1, 2, 1]) if affine is None else affine
    return VolumeSession(opened(predictor, np.zeros(SHAPE, np.uint8), affine), two_parts(), "region")


def saved(session: VolumeSession, folder: Path) -> bytes:
    session.save(folder / "session.npz")
    return (folder / "session.npz").read_bytes()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), click=st.tuples(*(st.integers(0, n - 1) for n in SHAPE)), positive=st.booleans())
def test_a_click_and_its_answer_are_at_the_same_place(
    predictor: MimoPredictor, seed: int, click: tuple[int, int, int], positive: bool
) -> None:
    """A place in mm, seen as a voxel by SimpleITK, clicked, and read from the answer by SimpleITK at that place."""
    affine, image = oblique(seed, np.zeros(SHAPE, np.uint8))
    place = image.TransformIndexToPhysicalPoint(click)
    session = session_of(predictor, affine)
    mask = session.add_click(image.TransformPhysicalPointToIndex(place), positive)
    answer = SimpleITK.GetImageFromArray(mask.astype(np.uint8).transpose(2, 1, 0))
    answer.CopyInformation(image)
    assert answer.GetPixel(answer.TransformPhysicalPointToIndex(place)) == positive
    far = np.argwhere(mask != two_parts())
    if len(far) and (positive or two_parts()[click]):  # what changes is one piece around the click, or a whole part
        assert mask[click] == positive


@settings(max_examples=20, deadline=None)
@given(clicks=CLICKS)
def test_undo_is_never_having_clicked(
    predictor: MimoPredictor, tmp_path_factory: pytest.TempPathFactory, clicks: list[Click]
) -> None:
    folder = tmp_path_factory.mktemp("saved")
    session = session_of(predictor)
    states = [saved(session, folder)]
    for voxel, positive in clicks:
        session.add_click(voxel, positive)
        states.append(saved(session, folder))
    for state in states[-2::-1]:
        assert session.undo()
        assert saved(session, folder) == state
    assert not session.undo()
    for state in states[1:]:
        assert session.redo()
        assert saved(session, folder) == state
    assert not session.redo()


@settings(max_examples=15, deadline=None)
@given(clicks=CLICKS, data=st.data())
def test_a_prompt_that_is_taken_back_was_never_given(
    predictor: MimoPredictor, clicks: list[Click], data: st.DataObject
) -> None:
    gone = data.draw(st.integers(0, len(clicks) - 1))
    with_all, without = session_of(predictor), session_of(predictor)
    for number, (voxel, positive) in enumerate(clicks):
        with_all.add_click(voxel, positive)
        if number != gone:
            without.add_click(voxel, positive)
    before = with_all.mask
    assert np.array_equal(with_all.remove(gone + 1), without.mask)
    assert [p.id for p in with_all.prompts] == [n + 1 for n in range(len(clicks)) if n != gone]
    assert with_all.undo()
    assert np.array_equal(with_all.mask, before)
    with pytest.raises(InputError, match="one of"):
        with_all.remove(99)


def test_a_session_is_continued(predictor: MimoPredictor, tmp_path: Path) -> None:
    session = session_of(predictor)
    session.add_click((9, 5, 4))
    line = np.zeros(SHAPE, dtype=bool)
    line[2:4, 2:9, 4] = True
    mask = session.add_scribble(line, positive=False)
    assert not mask[line].any()
    session.save(tmp_path / "mine")
    again = VolumeSession.load(tmp_path / "mine", session.volume)
    assert np.array_equal(again.mask, mask)
    assert again.prompts == session.prompts
    assert np.array_equal(again.remove(2), session.remove(2))
    assert np.array_equal(again.reset(), two_parts())
    assert again.undo()
    other = opened(predictor, np.zeros((4, 4, 4), np.uint8), np.eye(4))
    with pytest.raises(InputError, match=r"one of slices \[4, 4, 4\]"):
        VolumeSession.load(tmp_path / "mine", other)
    (tmp_path / "text").write_text("no session")
    with pytest.raises(InputError, match="a saved session"):
        VolumeSession.load(tmp_path / "text", other)


@settings(max_examples=60, deadline=None)
@given(
    clicks=st.lists(st.tuples(VOXELS, st.booleans()), max_size=9), lines=st.lists(VOXELS, max_size=6), data=st.data()
)
def test_what_was_shown_holds_after_all_that_follows(
    predictor: MimoPredictor, clicks: list[Click], lines: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    """As it was shown last, of a voxel that was shown to be inside and outside; and with steps back and forth."""
    session = session_of(predictor)
    shown: list[dict[tuple[int, int, int], bool]] = [{}]
    for positive in (True, False):
        line = lines[positive::2]
        if line:
            painted = np.zeros(SHAPE, dtype=bool)
            painted[tuple(np.transpose(line))] = True
            session.add_scribble(painted, positive)
            shown.append({**shown[-1], **dict.fromkeys(line, positive)})
    for voxel, positive in clicks:
        session.add_click(voxel, positive)
        shown.append({**shown[-1], voxel: positive})
        if data.draw(st.booleans()):
            session.undo()
            shown.pop()
            if data.draw(st.booleans()):
                session.redo()
                shown.append({**shown[-1], voxel: positive})
        mask = session.mask
        if mask.any():
            assert {v: bool(mask[v]) for v in shown[-1]} == shown[-1]


def test_a_negative_click_leaves_a_thin_object_its_positive_one(predictor: MimoPredictor) -> None:
    """Deep in the wrong part of an object, beside a click that is right: only what is nearer to the new click goes."""
    session = session_of(predictor)
    session.add_click((3, 5, 4), True)
    mask = session.add_click((6, 5, 4), False)
    assert mask[3, 5, 4]
    assert not mask[6, 5, 4]
    assert mask[2:4, 2:9, 1:7].all()  # half-way is 4.5
    assert not mask[6:8, 4:7, 3:5].any()


def test_a_negative_click_removes_a_part_in_3d(predictor: MimoPredictor) -> None:
    mask = session_of(predictor).add_click((12, 12, 4), False)
    assert not mask[11:14, 11:14, 3:6].any()
    assert mask[2:8, 2:9, 1:7].all()


def test_an_object_that_is_not_seen_stays_empty(predictor: MimoPredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    session = VolumeSession(opened(predictor, np.zeros(SHAPE, np.uint8), np.eye(4)))
    nothing = Structure("region"), np.zeros(session.volume.shape, dtype=bool)
    with monkeypatch.context() as patched:
        patched.setattr("monai_mimo.inference.volume_session.shown", lambda *_, **__: nothing)
        assert not session.add_click((3, 3, 3)).any()
    assert session.add_click((8, 8, 4))[8, 8, 4]
    assert session.score == 0.5


def test_nothing_is_left_to_remove(predictor: MimoPredictor) -> None:
    session = session_of(predictor)
    session.add_scribble(two_parts(), positive=False)
    assert not session.mask.any()
    assert not session.add_click((1, 1, 1), positive=False).any()
    assert session.undo()
    assert session.undo()
    assert np.array_equal(session.mask, two_parts())


def test_a_click_in_the_middle_of_an_error_turns_it(predictor: MimoPredictor) -> None:
    """A ball that is missing at the side of a block is added by a click in its middle, and what is far stays."""
    block = np.zeros((30, 30, 30), dtype=bool)
    block[:, :12, :] = True
    n, y, x = np.indices(block.shape)
    ball = (n - 15) ** 2 + (y - 15) ** 2 + (x - 15) ** 2 <= 16
    frames = block.copy()
    pull(frames, [(15, 15, 15)], True, np.ones(3))
    assert frames[ball].mean() > 0.9
    assert not frames[:, 22:].any()
    assert (frames[:5] == block[:5]).all()
    taken = block | ball
    pull(taken, [(15, 15, 15)], False, np.ones(3))
    assert not taken[15, 13:, 15].any()
    assert (taken[:5] == block[:5]).all()


def test_prompts_outside(predictor: MimoPredictor) -> None:
    session = session_of(predictor)
    for wrong in ((16, 0, 0), (0, -1, 0)):
        with pytest.raises(InputError, match="16 x 18 x 8"):
            session.add_click(wrong)
    with pytest.raises(InputError, match="inside 16 x 18 x 8"):
        session.add_box((0, 0, 0, 1, 1, 9))
    with pytest.raises(InputError, match="a click, box or scribble"):
        session.add()
    assert session.steps == (0, 0)
