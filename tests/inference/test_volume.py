"""Questions about volumes: places on voxels, what is kept, undo and redo; geometry against SimpleITK."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from monai_mimo.data.prompt_maps import RegionPrompts
from monai_mimo.errors import InputError
from monai_mimo.inference import MimoPredictor, volume_correction
from monai_mimo.inference.encoded_volume import EncodedVolume
from monai_mimo.inference.volume import main_parts
from monai_mimo.inference.volume_answer import side_of
from monai_mimo.inference.volume_session import VolumeSession
from monai_mimo.transforms import MedicalImage
from monai_mimo.transforms.grid import Grid

from ..conftest import make_nano


@pytest.fixture(scope="module")
def predictor() -> MimoPredictor:
    torch.manual_seed(0)
    return MimoPredictor(make_nano())


def opened(predictor: MimoPredictor, values: np.ndarray, affine: np.ndarray, plane: str = "axial") -> EncodedVolume:
    return predictor.encode_volume(MedicalImage(Grid(values, affine), Path("array"), plane))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), plane=st.sampled_from(["axial", "coronal", "sagittal"]))
def test_voxel_of_an_oblique_volume(predictor: MimoPredictor, seed: int, plane: str) -> None:
    rng = np.random.default_rng(seed)
    shape, spacing = rng.integers(3, 7, 3), rng.uniform(0.5, 4, 3)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(random_state=seed).as_matrix() * spacing
    affine[:3, 3] = rng.uniform(-100, 100, 3)
    values = rng.permutation(np.prod(shape)).reshape(shape).astype(np.int16)
    image = SimpleITK.GetImageFromArray(values.transpose(2, 1, 0))
    lps = np.diag([-1, -1, 1]) @ affine[:3]
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:, 3].tolist())
    voxel = [int(rng.integers(n)) for n in shape]
    volume = opened(predictor, values, affine, plane)
    place = volume.place(voxel)
    assert volume.image.frames[place] == image.GetPixel(*voxel)
    ras = volume.image.slices_affine @ (*place, 1)
    point = np.array(image.TransformIndexToPhysicalPoint(voxel)) * (-1, -1, 1)
    np.testing.assert_allclose(ras[:3], point, atol=1e-6)
    frames = np.zeros(volume.shape, dtype=bool)
    frames[place] = True
    assert np.argwhere(volume.to_voxels(frames)).tolist() == [voxel]
    numbers, flat = volume.box((*voxel, *(v + 1 for v in voxel)))
    assert (list(numbers), flat) == ([place[0]], (place[2], place[1], place[2] + 1, place[1] + 1))


def test_slices_are_encoded_once_within_the_memory(predictor: MimoPredictor) -> None:
    values = np.random.default_rng(0).integers(0, 255, (9, 8, 6)).astype(np.uint8)
    volume = opened(predictor, values, np.eye(4))
    both = volume.features([1, 3])
    assert volume.features([3, 1]).context.equal(both.context.flip(0))
    assert volume.encoded == 2
    volume.memory = volume.nbytes  # two slices
    volume.features([0, 1])
    assert volume.encoded == 3
    assert volume.nbytes == volume.memory
    volume.features([3])
    assert volume.encoded == 4


def test_side_and_parts() -> None:
    frames = np.zeros((8, 8, 8), dtype=bool)
    frames[0:3, 0:3, 0:3] = frames[6, 6, 6] = True
    assert main_parts(frames).sum() == 27
    assert main_parts(frames, [(6, 6, 6)]).sum() == 1
    image = MedicalImage(Grid(np.zeros((8, 8, 8)), np.diag([2.0, 2, 2, 1])), Path("array"))
    assert side_of(main_parts(frames), image) == "left"


class Ball:
    """A stand-in for the model: adds a disc around positive clicks to the mask before, and takes one off around negative ones."""

    def __call__(
        self, volume: EncodedVolume, numbers: Sequence[int], prompts: Sequence[RegionPrompts], _: str
    ) -> tuple[torch.Tensor, list[float]]:
        side = volume.resize.side
        y, x = np.mgrid[:side, :side] / float(volume.resize.scale[0])
        out = []
        for prompt in prompts:
            mask = np.zeros((side, side), dtype=bool) if prompt.logits is None else prompt.logits > 0
            for px, py, label in prompt.points:
                disc = (x - px) ** 2 + (y - py) ** 2 < 9
                mask = mask | disc if label else mask & ~disc
            out.append(np.where(mask, 6.0, -6.0))
        return torch.tensor(np.stack(out), dtype=torch.float32), [0.9] * len(prompts)


@pytest.fixture
def session(predictor: MimoPredictor, monkeypatch: pytest.MonkeyPatch) -> VolumeSession:
    class Names:
        names = ("region",)

    monkeypatch.setattr(predictor.model, "region_names", Names(), raising=False)
    monkeypatch.setattr(volume_correction, "decode", Ball())
    mask = np.zeros((32, 32, 10), dtype=bool)
    mask[4:12, 4:12, 2:8] = mask[20:24, 20:24, 3:6] = True
    return VolumeSession(opened(predictor, np.zeros(mask.shape, np.uint8), np.diag([-1.0, -1, 1, 1])), mask)


def test_undo_is_never_having_clicked(session: VolumeSession, tmp_path: Path) -> None:
    session.save(tmp_path / "a")
    start = session.mask
    masks = [session.add_click((16, 8, 5)), session.add_click((5, 5, 4), False)]
    assert not (masks[0] == masks[1]).all()
    assert masks[0][16, 8, 5]
    assert not masks[1][5, 5, 4]
    assert session.undo()
    assert (session.mask == masks[0]).all()
    assert session.undo()
    assert not session.undo()
    session.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert session.redo()
    assert session.redo()
    assert not session.redo()
    assert (session.mask == masks[1]).all()
    session.save(tmp_path / "c")
    again = VolumeSession.load(tmp_path / "c", session.volume)
    assert (again.mask == masks[1]).all()
    again.reset()
    assert (again.mask == start).all()


def test_negative_click_removes_a_part_in_3d(session: VolumeSession) -> None:
    mask = session.add_click((21, 21, 4), False)
    assert not mask[20:24, 20:24].any()
    assert mask[4:12, 4:12, 2:8].all()


def test_prompts_outside(session: VolumeSession) -> None:
    with pytest.raises(InputError, match="32 x 32 x 10"):
        session.add_click((32, 0, 0))
    with pytest.raises(InputError, match="inside 32 x 32 x 10"):
        session.add_box((0, 0, 0, 1, 1, 11))
