"""Questions about volumes: places on voxels (against SimpleITK), what is kept, and how slices are joined."""

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
from monai_mimo.inference import MimoPredictor
from monai_mimo.inference import volume as volume_module
from monai_mimo.inference.encoded_volume import EncodedVolume
from monai_mimo.inference.question import Question
from monai_mimo.inference.volume import follow
from monai_mimo.inference.volume_answer import Structure, described, side_of
from monai_mimo.inference.whole_structure import joined, looks_like, main_parts, opposite
from monai_mimo.transforms import MedicalImage
from monai_mimo.transforms.grid import Grid

from ..conftest import make_nano


@pytest.fixture(scope="module")
def predictor() -> MimoPredictor:
    torch.manual_seed(0)
    return MimoPredictor(make_nano())


def opened(predictor: MimoPredictor, values: np.ndarray, affine: np.ndarray, plane: str = "axial") -> EncodedVolume:
    return predictor.encode_volume(MedicalImage(Grid(values, affine), Path("array"), plane))


def oblique(seed: int, values: np.ndarray) -> tuple[np.ndarray, SimpleITK.Image]:
    """A random affine from voxels to RAS mm, and the volume as SimpleITK has it."""
    rng = np.random.default_rng(seed)
    spacing = rng.uniform(0.5, 4, 3)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(random_state=seed).as_matrix() * spacing
    affine[:3, 3] = rng.uniform(-100, 100, 3)
    image = SimpleITK.GetImageFromArray(values.transpose(2, 1, 0))
    lps = np.diag([-1, -1, 1]) @ affine[:3]
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:, 3].tolist())
    return affine, image


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), plane=st.sampled_from(["axial", "coronal", "sagittal"]))
def test_voxel_of_an_oblique_volume(predictor: MimoPredictor, seed: int, plane: str) -> None:
    rng = np.random.default_rng(seed)
    shape = rng.integers(3, 7, 3)
    values = rng.permutation(np.prod(shape)).reshape(shape).astype(np.int16)
    affine, image = oblique(seed, values)
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
    assert side_of(image.to_display(main_parts(frames)), image) == "left"


def test_one_question_about_each_slice_is_as_about_images(predictor: MimoPredictor) -> None:
    """All checks of a question about an image hold on slices, since it is the same call; in a batch as alone."""
    values = np.random.default_rng(1).integers(0, 255, (12, 10, 3)).astype(np.uint8)
    volume = opened(predictor, values, np.eye(4))
    together = predictor.ask_each(volume.slices([0, 1, 2]), [Question("Segment the liver in this image.")] * 3)
    for number, answer in enumerate(together):
        predictor.set_image(volume.image, number)
        alone = predictor.ask("Segment the liver in this image.")
        assert answer.text == alone.text
        assert answer.slice == number
        assert [e.phrase for e in answer.entities] == [e.phrase for e in alone.entities]
        for one, other in zip(answer.entities, alone.entities):
            assert (one.mask == other.mask).all()


def test_each_of_several_names_is_asked_for_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    fine = {"width": 32, "layers": 2, "heads": 2, "mlp_width": 64, "fine": (8, 8, 16, 16, 16)}
    predictor = MimoPredictor(make_nano(mask_decoder=fine, names={"liver": (), "spleen": ()}))
    asked: list[str] = []

    def note(images: list, questions: list, **options: object) -> list:
        if not options:  # what is asked of the volume, and not again of a slice
            asked.extend(question.text for question in questions)
        return ask_each(images, questions, **options)

    ask_each = predictor.ask_each
    monkeypatch.setattr(predictor, "ask_each", note)
    first, second = predictor.model.config.names
    volume = opened(predictor, np.random.default_rng(2).random((12, 14, 3)), np.eye(4))
    predictor.ask_about_volume(volume, f"Show me the {first} and the {second}.")
    assert asked == [f"Where is the {first}?"] * 3 + [f"Where is the {second}?"] * 3
    asked.clear()
    predictor.ask_about_volume(volume, f"Which is larger, the {first} or the {second}?")
    assert set(asked) == {f"Which is larger, the {first} or the {second}?"}


def seen(volume: EncodedVolume, scores: Sequence[float]) -> Structure:
    """A disc on every slice."""
    side = volume.resize.side // 2
    y, x = np.mgrid[:side, :side]
    disc = torch.from_numpy(np.where((x - side / 2) ** 2 + (y - side / 2) ** 2 < (side / 4) ** 2, 8.0, -8.0)).float()
    return Structure("liver", dict.fromkeys(range(len(scores)), disc), dict(enumerate(scores)))


def test_slices_that_score_low_are_empty(predictor: MimoPredictor) -> None:
    volume = opened(predictor, np.zeros((32, 32, 8), np.uint8), np.eye(4))
    frames = joined(volume, seen(volume, [0.2, 0.25, 0.7, 0.8, 0.75, 0.7, 0.3, 0.2]))
    assert np.flatnonzero(frames.any((1, 2))).tolist() == [2, 3, 4, 5]
    x, y = np.mgrid[:32, :32] + 0.5
    disc = (x - 16) ** 2 + (y - 16) ** 2 < 64
    assert (frames[3] != disc).sum() <= 0.15 * disc.sum()
    rival = np.zeros(volume.shape, dtype=np.float32)
    rival[:, :16] = 2.0
    found = joined(volume, seen(volume, [0.8] * 8), rival)
    assert not found[:, :16].any()
    assert found[:, 16:].any()


@pytest.mark.parametrize(("chance", "kept"), [(0.9, True), (0.1, False)])
def test_what_does_not_look_like_its_name_in_3d_is_not_it(
    predictor: MimoPredictor, monkeypatch: pytest.MonkeyPatch, chance: float, kept: bool
) -> None:
    """One slice that looks like it does not make up for three that do not."""
    volume = opened(predictor, np.zeros((32, 32, 4), np.uint8), np.eye(4))
    found = seen(volume, [0.8] * 4)

    class Names:
        names = ("liver", "region")

    def chances(given: EncodedVolume, numbers: Sequence[int], logits: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[0.5 if n == 0 else chance, 0.0] for n in numbers])

    monkeypatch.setattr(predictor.model, "region_names", Names(), raising=False)
    monkeypatch.setattr("monai_mimo.inference.whole_structure.chances", chances)
    assert looks_like(volume, found, joined(volume, found)) is kept
    assert not looks_like(volume, found, np.zeros(volume.shape, dtype=bool))


def test_opposites() -> None:
    known = ["left kidney", "right kidney", "anterior hippocampus", "liver"]
    assert opposite("left kidney", known) == "right kidney"
    assert opposite("anterior hippocampus", known) is None
    assert opposite("liver", known) is None


def test_masks_that_overlap_are_kept_so(predictor: MimoPredictor) -> None:
    volume = opened(predictor, np.zeros((16, 16, 8), np.uint8), np.diag([-1.0, -1, 2, 1]))
    frames = np.zeros(volume.shape, dtype=bool)
    frames[2:6, 4:12, 0:8] = True
    inner = np.zeros_like(frames)
    inner[3:5, 6:10, 2:6] = True
    both = [(seen(volume, [0.8] * 8), frames), (Structure("tumor", {}, {3: 0.4, 4: 0.4}), inner)]
    answer = described(volume, {}, both, absent=["spleen"])
    assert (answer.entities[0].mask & answer.entities[1].mask).sum() == inner.sum()
    assert [answer.text[slice(*e.span)] for e in answer.entities] == ["liver", "tumor"]
    assert "0.512 ml on slices 2 to 5" in answer.text
    assert answer.text.endswith("I found no spleen.")
    assert [e.slices for e in answer.structures] == [(2, 5), (3, 4)]
    assert answer.warnings == ["uncertain: tumor (score 0.40)"]
    said = answer.to_json()["entities"][0]
    assert (said["voxels"], said["volume_ml"]) == (4 * 8 * 8, 0.512)


def test_following_ends_where_the_thing_ends(predictor: MimoPredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of a thing that grows, and one that is far too large: not followed beyond."""
    volume = opened(predictor, np.zeros((32, 32, 9), np.uint8), np.eye(4))
    side = predictor.model.config.image_size // 2
    y, x = np.mgrid[:side, :side]
    radii = [0, 0, 4, 5, 6, 5, 4, 15, 15]

    def decode(given: EncodedVolume, numbers: Sequence[int], *_: object) -> tuple[torch.Tensor, list[float]]:
        discs = [(x - side / 2) ** 2 + (y - side / 2) ** 2 < radii[n] ** 2 for n in numbers]
        return torch.from_numpy(np.where(discs, 6.0, -6.0)).float(), [0.9] * len(numbers)

    monkeypatch.setattr(volume_module, "decode", decode)
    found = follow(volume, {4: RegionPrompts([(16.0, 16.0, 1)])}, "region")
    assert sorted(found.logits) == [2, 3, 4, 5, 6]


def test_what_cannot_be_asked(predictor: MimoPredictor) -> None:
    with pytest.raises(InputError, match="set_volume"):
        MimoPredictor(predictor.model).ask_volume("What is this?")
    predictor.set_volume(np.zeros((8, 9, 4), np.uint8), np.eye(4))
    for asked, said in (
        ({}, "words or prompts"),
        ({"question": "What?", "points": [(1, 1, 1)]}, "both"),
        ({"points": [(8, 1, 1)]}, "8 x 9 x 4"),
        ({"scribbles": np.zeros((8, 9, 5), np.uint8)}, "as the volume"),
        ({"points": [(1, 1, 1)]}, "fine branch"),
    ):
        with pytest.raises(InputError, match=said):
            predictor.ask_volume(**asked)
    with pytest.raises(InputError, match="only what is outside"):
        volume_module.shown(predictor.encode_volume(predictor._volume.image), {0: RegionPrompts([(1.0, 1.0, 0)])})
    with pytest.raises(InputError, match="affine"):
        predictor.set_volume(np.zeros((8, 9, 4)))
