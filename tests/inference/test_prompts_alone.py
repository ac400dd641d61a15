"""Prompts without words: what they show is outlined, named where it has a name, and a mask holds the click that it answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from monai_mimo.cli import main
from monai_mimo.data.conversation import collate_questions
from monai_mimo.data.names import off_topic
from monai_mimo.data.prompt_maps import BOX_MAP, HAS_LOGITS_MAP, NEGATIVE_MAP, POSITIVE_MAP
from monai_mimo.errors import InputError
from monai_mimo.inference import Entity, MimoPredictor
from monai_mimo.inference.name_guard import NameGuard
from monai_mimo.inference.question import Question, obeys, read_logits, read_scribbles, save_logits
from monai_mimo.models import Mimo
from monai_mimo.models.outputs import Pointed
from monai_mimo.models.weights import save_weights

from ..conftest import make_nano

NAMES = {"liver": (), "spleen": ("lien",)}
FINE = {"width": 32, "layers": 2, "heads": 2, "mlp_width": 64, "fine": (8, 8, 16, 16, 16)}
H, W = 40, 56


def make() -> Mimo:
    torch.manual_seed(0)
    return make_nano(mask_decoder=FINE, names=NAMES)


@pytest.fixture
def predictor() -> MimoPredictor:
    predictor = MimoPredictor(make())
    predictor.set_image(np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8))
    return predictor


def halves(left: float, right: float) -> torch.Tensor:
    """Logits [32, 32] that tell the left half of the image from the right one."""
    logits = torch.full((32, 32), left)
    logits[:, 16:] = right
    return logits


@pytest.mark.parametrize(
    ("name", "probability", "named", "unnamed", "phrase", "area", "score"),
    [
        ("spleen", 0.9, halves(5, -5), halves(5, 5), "spleen", 0.5, 0.72),  # it holds the click, and its name is likely
        ("region", 1.0, halves(5, -5), halves(5, -5), "region", 0.5, 0.8),
        ("spleen", 0.9, halves(-5, 5), halves(5, -5), "region", 0.5, 0.7),  # the named mask lies elsewhere
        ("spleen", 0.9, halves(-5, 5), halves(-5, 5), None, 0, 0),  # no mask holds the click
    ],
)
def test_a_mask_holds_the_click_that_it_answers(
    predictor: MimoPredictor,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    probability: float,
    named: torch.Tensor,
    unnamed: torch.Tensor,
    phrase: str | None,
    area: float,
    score: float,
) -> None:
    condition = torch.zeros(1, 32)
    seen = [Pointed(name, probability, named, 0.8, condition), Pointed("region", 1.0, unnamed, 0.7, condition)]
    monkeypatch.setattr(predictor.model, "point_out", lambda *_: seen)
    answer = predictor.ask(points=[(3, 20)])
    assert [e.phrase for e in answer.entities] == ([] if phrase is None else [phrase])
    for entity in answer.entities:
        assert answer.text[slice(*entity.span)] == phrase
        assert entity.mask[20, 3]
        assert entity.mask.mean() == pytest.approx(area, abs=0.05)
        assert entity.score == pytest.approx(score)


def test_a_name_that_is_a_guess_is_not_said(predictor: MimoPredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    names = predictor.model.region_names
    spleen = names.names.index("spleen")
    for likely, called in ((0.3, "region"), (0.9, "spleen")):
        chances = torch.full((1, len(names.names)), (1 - likely) / (len(names.names) - 1))
        chances[0, spleen] = likely
        monkeypatch.setattr(names, "chances", lambda *_, chances=chances: chances)
        encoded = predictor.conversation.encode("", predictor._image.resize, [], [(1, 2, 30, 20)])
        questions = collate_questions([encoded], [0], predictor.model.tokenizer.pad_token_id, generate=True)
        best, *_ = predictor.model.point_out(predictor._image.features, questions)
        assert best.name == called
        assert best.probability == pytest.approx(likely if called == "spleen" else 1)


def test_a_box_is_outlined_by_its_name_and_without(predictor: MimoPredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean of both; of clicks and of a mask that is corrected, the outline by the name."""
    model, names = predictor.model, predictor.model.region_names
    likely = torch.zeros(1, len(names.names))
    likely[0, names.names.index("spleen")] = 0.9
    monkeypatch.setattr(model, "by_clicks", lambda *_: likely)
    spleen, region = (names.condition(torch.tensor([names.names.index(name)])) for name in ("spleen", "region"))
    box = [(1, 2, 30, 20)]
    before = np.zeros((32, 32), dtype=np.float32)
    for points, boxes, logits in (([], box, None), ([(3, 4, 1)], [], None), ([(3, 4, 1)], box, before)):
        encoded = predictor.conversation.encode("", predictor._image.resize, points, boxes, logits=logits)
        questions = collate_questions([encoded], [0], model.tokenizer.pad_token_id, generate=True)
        features = predictor._image.features
        where = questions.coordinates, questions.prompt_labels, questions.prompt_maps
        with torch.no_grad():
            named, unnamed = (
                model.decode(features, torch.zeros(1, dtype=torch.long), condition, *where)
                for condition in (spleen, region)
            )
        assert not torch.allclose(named[0], unnamed[0])
        best, other = model.point_out(features, questions)
        mean = not points
        torch.testing.assert_close(best.logits, ((named[0] + unnamed[0]) / 2 if mean else named[0])[0])
        assert best.iou == pytest.approx(float((named[1] + unnamed[1]) / 2 if mean else named[1]))
        torch.testing.assert_close(best.conditions, torch.cat([spleen, region]) if mean else spleen)
        assert (best.name, other.name) == ("spleen", "region")
        torch.testing.assert_close(other.logits, unnamed[0][0])


def test_what_is_small_is_looked_at_again(predictor: MimoPredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    small = torch.full((32, 32), -5.0)
    small[4:8, 6:10] = 5
    condition, windows = torch.randn(1, 32), []

    def closer(model, pixels, given, sought):
        windows.append(given[0])
        assert torch.equal(sought[0].conditions, condition)
        logits = np.full((given[0].side, given[0].side), -3.0, dtype=np.float32)
        logits[2:6, 3:9] = 3
        return [logits], [0.9]

    monkeypatch.setattr(predictor.model, "point_out", lambda *_: [Pointed("spleen", 0.9, small, 0.8, condition)])
    monkeypatch.setattr("monai_mimo.inference.second_look.look_again", closer)
    answer = predictor.ask(points=[(13, 9)])
    [window] = windows
    [entity] = answer.entities
    expected = np.zeros((H, W), dtype=bool)
    expected[window.top + 2 : window.top + 6, window.left + 3 : window.left + 9] = True
    np.testing.assert_array_equal(entity.mask, expected)
    assert entity.score == pytest.approx(0.9 * 0.9)
    assert entity.logits is not None
    assert (entity.logits > 0).sum() == pytest.approx(expected.sum() * (32 / 56) ** 2, abs=6)


@pytest.mark.parametrize(
    ("prompts", "lies"),
    [
        ({"points": [(3, 4, 1)]}, True),
        ({"points": [(30, 4, 1)]}, False),
        ({"points": [(30, 4, 0)]}, True),
        ({"boxes": [(0, 0, 20, 40)]}, True),
        ({"boxes": [(30, 0, 50, 40)]}, False),
    ],
)
def test_what_is_grounded_lies_where_it_was_pointed(prompts: dict, lies: bool) -> None:
    mask = np.zeros((H, W), dtype=bool)
    mask[:, :20] = True
    assert obeys(Question("What is it?", **prompts), "It is the liver.", [Entity("liver", (10, 15), mask, 0.9)]) == lies
    assert obeys(Question("What is it?", **prompts), "I cannot help with that.", [])


def test_what_a_prompt_shows_is_grounded() -> None:
    box = [(0, 0, 20, 40)]
    none = "I see no liver.", []
    guard = NameGuard(NAMES)
    assert not obeys(Question("What is in <box>?", boxes=box), *none)  # whatever was said instead
    assert obeys(Question("How many polyps are there in <box>?", boxes=box), *none)  # "none" is an answer
    assert obeys(Question("Where is the liver?", boxes=box), *none, guard)  # so it is of what was named
    assert not obeys(Question("What disease is this?", boxes=box), *none, guard)
    assert obeys(Question("What disease is this?"), *none, guard)
    assert obeys(Question("What is 2 + 2?", boxes=box), off_topic().replies[0], [], guard)


def test_every_kind_of_prompt_reaches_the_model(predictor: MimoPredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, point_out = [], predictor.model.point_out

    def note(features, questions):
        seen.append(questions.prompt_maps[0])
        return point_out(features, questions)

    monkeypatch.setattr(predictor.model, "point_out", note)
    inside, outside = np.zeros((H, W), dtype=bool), np.zeros((H, W), dtype=bool)
    inside[10, 5:30], outside[30, 5:30] = True, True
    predictor.ask(points=[(5, 6), (50, 30, 0)], boxes=[(1, 2, 30, 20)])
    answer = predictor.ask(scribbles=(inside, outside))
    refined = answer.entities[0].logits if answer.entities else np.zeros((32, 32), dtype=np.float32)
    predictor.ask(mask_input=refined)
    first, second, third = seen
    assert all(first[channel].any() for channel in (POSITIVE_MAP, NEGATIVE_MAP, BOX_MAP))
    scale = 32 / W  # of the image's pixels on the maps' grid
    assert second[POSITIVE_MAP, int(10.5 * scale), int(17 * scale)] > 0.3
    assert second[NEGATIVE_MAP, int(30.5 * scale), int(17 * scale)] > 0.3
    assert not second[BOX_MAP].any()
    assert (third[HAS_LOGITS_MAP] == 1).all()


def test_bad_prompts_are_refused(predictor: MimoPredictor, nano_weights: Path) -> None:
    with pytest.raises(InputError, match="a question in words, or a prompt"):
        predictor.ask()
    with pytest.raises(InputError, match=r"scribble: found bool \[3, 3\]"):
        predictor.ask(scribbles=(np.ones((3, 3), dtype=bool), None))
    with pytest.raises(InputError, match=r"mask_input: found shape \[8, 8\]"):
        predictor.ask(mask_input=np.zeros((8, 8), dtype=np.float32))
    published = MimoPredictor.from_pretrained(nano_weights)  # without a fine branch
    published.set_image(np.zeros((H, W, 3), dtype=np.uint8))
    assert published.ask(points=[(4, 4)]).text is not None  # asked in words of its own
    with pytest.raises(InputError, match="which are all that these weights read"):
        published.ask(scribbles=(np.ones((H, W), dtype=bool), None))


def test_scribbles_are_told_apart_by_their_colour(tmp_path: Path) -> None:
    paint = np.zeros((H, W, 3), dtype=np.uint8)
    paint[5, 3:9] = (0, 200, 0)
    paint[6, 3:9] = 255
    paint[20, 3:9] = (230, 20, 10)
    Image.fromarray(paint).save(tmp_path / "s.png")
    inside, outside = read_scribbles(tmp_path / "s.png")
    assert np.argwhere(inside)[:, 0].tolist() == [5] * 6 + [6] * 6
    assert np.argwhere(outside).tolist() == [[20, x] for x in range(3, 9)]
    Image.fromarray(paint[..., 1]).save(tmp_path / "grey.png")
    assert read_scribbles(tmp_path / "grey.png")[1] is None
    Image.fromarray(paint * 0).save(tmp_path / "black.png")
    with pytest.raises(InputError, match="without paint"):
        read_scribbles(tmp_path / "black.png")


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00"])
def test_damaged_logits_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"m\.npy"):
        read_logits(tmp_path / "m.npy")


def test_a_mask_goes_out_and_in_again(tmp_path: Path) -> None:
    logits = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    save_logits(logits, tmp_path / "m.npy")
    np.testing.assert_array_equal(read_logits(tmp_path / "m.npy"), logits)
    assert [p.name for p in tmp_path.iterdir()] == ["m.npy"]


def test_the_command_line_takes_scribble_and_mask(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    weights = save_weights(make(), tmp_path / "weights")
    Image.fromarray(np.full((H, W), 90, dtype=np.uint8)).save(tmp_path / "image.png")
    paint = np.zeros((H, W), dtype=np.uint8)
    paint[10, 5:30] = 255
    Image.fromarray(paint).save(tmp_path / "s.png")
    np.save(tmp_path / "before.npy", np.full((32, 32), 4, dtype=np.float32))
    common = ["ask", str(tmp_path / "image.png"), "--weights", str(weights), "--json", "--withhold", "0"]
    main([*common, "--scribble", str(tmp_path / "s.png"), "--mask-input", str(tmp_path / "before.npy")])
    assert "answer" in json.loads(capsys.readouterr().out)
