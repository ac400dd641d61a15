"""Questions answered from masks: whatever the slice, the value is what brute force finds, and the grammar reads it back."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from monai_mimo.mimoseg.catalogue.vocabulary import vocabulary
from monai_mimo.mimoseg.questions.measured import ASK, Scene, measured_samples, plural_of, related
from monai_mimo.mimoseg.questions.perspectives import Sample
from monai_mimo.mimoseg.questions.templates import KINDS, SIZES, is_right, measured_templates, parse_value
from monai_mimo.mimoseg.sources.read_case import SliceMasks

NAMES = ["liver", "spleen", "portal and splenic veins", "liver lesion", "polyp", "L1 vertebra", "left kidney"]
MODALITIES = ["CT", "MR", "X-ray", "ultrasound", "fundus", "OCT", "optical coherence tomography"]
ABSENT, ELSEWHERE = ["pancreas", "kidney"], ["optic disc"]


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Boxes of any size and place, which may overlap, in a picture or in an image with spacing."""
    names = draw(st.lists(st.sampled_from(NAMES), max_size=5, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    masks = SliceMasks()
    for name in names:
        masks[name] = np.zeros((48, 57), dtype=bool)
        for _ in range(rng.integers(1, 4)):
            y, x = rng.integers(0, 40, 2)
            height, width = rng.integers(5, 16, 2)
            masks[name][y : y + height, x : x + width] = True
    spacing = draw(st.sampled_from([None, (1.0, 1.0), (0.7, 1.9)]))
    return Scene(masks, draw(st.sampled_from(MODALITIES)), ABSENT, ELSEWHERE, spacing)


def share(mask: np.ndarray, rows: slice, columns: slice) -> float:
    return mask[rows, columns].sum() / mask.sum()


def check_truth(sample: Sample, scene: Scene) -> None:
    """The value, found without the code that wrote it."""
    kind, value = sample.value
    masks = [scene.masks[phrase] for phrase in sample.phrases]
    h, w = 48, 57
    sides = {
        "upper": slice(0, h // 2),
        "lower": slice(h // 2, h),
        "left": slice(0, w // 2),
        "right": slice(w // 2 + 1, w),
    }
    everything = slice(None)
    if kind == "modality":
        assert value == scene.modality
        assert not masks
    elif kind in ("present", "marked"):
        assert not set(sample.absent) & set(scene.masks)
        assert len(sample.absent) <= 1
        if kind == "present":
            assert (value == "yes") == bool(masks) == (not sample.absent)
    elif kind == "count":
        sizes = np.bincount(label(masks[0], np.ones((3, 3)))[0].ravel())[1:]
        assert int(value) == (sizes >= max(16, 0.05 * sizes.max())).sum()
    elif kind == "left_right":
        assert share(masks[0], everything, sides[value]) >= 0.95
    elif kind == "upper_lower":
        assert share(masks[0], sides[value], everything) >= 0.95
    elif kind == "quarter":
        y, x = value.split()
        assert share(masks[0], sides[y], sides[x]) >= 0.95
    elif kind == "larger":
        assert value == sample.phrases[0]
        assert masks[0].sum() > 1.2 * masks[1].sum()
    elif kind == "diameter_mm":
        places = np.argwhere(masks[0]) * scene.spacing_mm
        extent = np.hypot(*(places.max(0) - places.min(0) + scene.spacing_mm))
        longest = max(np.hypot(*(places - place).T).max() for place in places)
        assert 0.95 * longest <= float(value) <= 1.05 * extent
    else:
        pixel = 100 / (h * w) if kind == "area_percent" else np.prod(scene.spacing_mm)
        assert float(value) == pytest.approx(masks[0].sum() * pixel, rel=0.05)


@settings(max_examples=120, deadline=None)
@given(scenes(), st.integers(1, 12), st.integers(0, 10_000))
def test_every_answer_is_true_and_can_be_read(scene: Scene, count: int, seed: int) -> None:
    samples = measured_samples(scene, count, np.random.default_rng(seed))
    assert 0 < len(samples) <= count
    assert [s.question for s in measured_samples(scene, count, np.random.default_rng(seed))] == [
        s.question for s in samples
    ]
    for sample in samples:
        kind, value = sample.value
        assert sample.perspective == 5
        assert re.findall(r"<p> (.+?) </p> <SEG>", sample.answer) == sample.phrases
        assert not re.search(r"[{}]", sample.question + sample.answer)
        assert len(re.findall("<point>|<box>", sample.question)) == (1 if kind == "marked" else 0)
        assert is_right(kind, parse_value(kind, sample.answer), value)
        assert ("mm" in sample.question.split(".")[0]) == (kind in ("diameter_mm", "area_mm2"))
        check_truth(sample, scene)


@settings(max_examples=40, deadline=None)
@given(scenes(), st.integers(0, 10_000))
def test_a_prompt_lies_on_what_the_answer_names(scene: Scene, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ask, _ = ASK["marked"]
    for sample in filter(None, (ask(scene, rng) for _ in range(6))):
        [name] = sample.phrases
        asked = re.search("|".join(sorted((*NAMES, *ABSENT, *ELSEWHERE), key=len, reverse=True)), sample.question)
        assert asked is not None
        assert (asked[0] == name) == (sample.value[1] == "yes")
        for x, y, _ in sample.points:
            assert scene.masks[name][y, x]
            if asked[0] in scene.masks and asked[0] != name:
                assert not scene.masks[asked[0]][y, x]
        for x0, y0, x1, y1 in sample.boxes:
            assert scene.masks[name][y0:y1, x0:x1].sum() > 0.7 * scene.masks[name].sum()
        assert sample.absent == ([] if asked[0] in scene.masks else [asked[0]])


def two_things() -> SliceMasks:
    masks = SliceMasks({name: np.zeros((60, 60), dtype=bool) for name in ("liver", "spleen")})
    masks["liver"][5:25, 4:26] = masks["spleen"][40:55, 34:54] = True
    return masks


@pytest.mark.parametrize("kind", ["present", "marked"])
def test_yes_is_as_frequent_as_no(kind: str) -> None:
    scene, rng = Scene(two_things(), "CT", ["pancreas"], ["optic disc"], None), np.random.default_rng(0)
    samples = [ASK[kind][0](scene, rng) for _ in range(600)]
    shares = Counter(sample.value[1] for sample in samples)
    assert shares["yes"] + shares["no"] == 600
    assert 0.43 < shares["yes"] / 600 < 0.57
    refused = [sample for sample in samples if sample.value[1] == "no"]
    if kind == "marked":  # mostly of another structure that is there, which the answer corrects
        assert 0.5 < np.mean([not sample.absent for sample in refused]) < 0.9


@pytest.mark.parametrize("kind", ["present", "marked"])
def test_nothing_is_asked_that_could_only_be_yes(kind: str) -> None:
    masks = SliceMasks({"liver": two_things()["liver"]})
    rng = np.random.default_rng(0)
    assert [ASK[kind][0](Scene(masks, "CT", [], [], None), rng) for _ in range(20)] == [None] * 20


def test_a_name_that_may_mean_the_same_is_no_contrast() -> None:
    """A lung lesion is in the lung, a left kidney is a kidney: "Is this the kidney?" would not be false."""
    assert related("kidney", "left kidney")  # a family of the vocabulary
    assert related("lesion", "liver lesion")  # words of the other
    assert related("renal mass", "kidney tumor")  # a synonym
    assert not related("liver", "spleen")
    assert not related("left kidney", "right kidney")
    masks = SliceMasks({"left kidney": two_things()["liver"]})
    rng = np.random.default_rng(0)
    for kind in ("present", "marked"):
        assert not any(ASK[kind][0](Scene(masks, "CT", ["kidney"], [], None), rng) for _ in range(20))


@pytest.mark.parametrize("inside", [True, False])
def test_overlapping_structures_are_not_held_against_each_other(inside: bool) -> None:
    masks = SliceMasks({"optic disc": np.zeros((60, 60), dtype=bool), "optic cup": np.zeros((60, 60), dtype=bool)})
    masks["optic disc"][10:40, 10:40] = True
    masks["optic cup"][(20, 45)[not inside] : (30, 55)[not inside], 20:30] = True
    rng = np.random.default_rng(0)
    samples = [ASK["marked"][0](Scene(masks, "fundus", [], [], None), rng) for _ in range(30)]
    assert all(sample is None for sample in samples) == inside


@pytest.mark.parametrize(
    ("name", "plural"),
    [
        ("polyp", "polyps"),
        ("cell nucleus", "cell nuclei"),
        ("bone metastasis", "bone metastases"),
        ("vertebra", "vertebrae"),
        ("L1 vertebra", None),
        ("left lung", None),
        ("enhancing tumor", None),
        ("liver", None),
    ],
)
def test_what_is_counted(name: str, plural: str | None) -> None:
    assert plural_of(name) == plural


def test_every_kind_has_many_words() -> None:
    words = measured_templates()
    assert set(ASK) == set(KINDS)
    for kind in KINDS:
        section = words[kind]
        assert len(set(section["questions"])) >= 8
        answers = [texts for part, texts in section.items() if part not in ("asked", "questions", "value")]
        assert answers
        assert all(len(set(texts)) >= 4 for texts in answers)


def test_every_answer_of_every_kind_is_read_for_every_value() -> None:
    """Also where names hold words of the grammar: a left kidney lies in the right half."""
    values = {
        "modality": MODALITIES,
        "count": [str(n) for n in range(1, 11)],
        "left_right": ["left", "right"],
        "upper_lower": ["upper", "lower"],
        "quarter": ["upper left", "upper right", "lower left", "lower right"],
        **{kind: ["0.051", "4.3", "43", "12000"] for kind in SIZES},
    }
    one, other = "left upper lung lobe", "right kidney"
    texts = {"entity": f"the <p> {one} </p> <SEG>", "phrase": f"<p> {one} </p> <SEG>", "absent": one, "asked": other}
    texts |= {"larger": texts["entity"], "smaller": f"the <p> {other} </p> <SEG>"}
    read = 0
    for kind in KINDS:
        for part, answers in measured_templates()[kind].items():
            if part in ("asked", "questions", "value"):
                continue
            fixed = {"yes": ["yes"], "no": ["no"], "one": ["1"]}.get(part)
            for value in fixed or values.get(kind) or [one]:
                for verbs in ({"be": "is", "lie": "lies", "cover": "covers", "take": "takes", "s": "s"},
                              {"be": "are", "lie": "lie", "cover": "cover", "take": "take", "s": ""}):  # fmt: skip
                    article = "an" if value[0] in "uXMRe" else "a"
                    for answer in answers:
                        said = answer.format(value=value, image=f"{article} {value} image", **texts, **verbs)
                        said = said[0].upper() + said[1:]
                        assert is_right(kind, parse_value(kind, said), value), said
                        assert parse_value(kind, re.sub("<[^>]*> ?", "", said)) is not None
                        read += 1
    assert read > 300


@pytest.mark.parametrize(
    ("kind", "answer", "value"),
    [
        ("present", "Yes, the liver is there.", "yes"),
        ("present", "There is no liver.", None),  # neither yes nor no
        ("present", "Nothing.", None),
        ("marked", "No, this is the spleen.", "no"),
        ("count", "There are 3 of them: polyp.", "3"),
        ("count", "There are 3 or 4 of them: polyp.", "3"),
        ("count", "There are 3 of them, I see 4 of them.", None),
        ("count", "The L1 vertebra.", None),
        ("left_right", "It is the left kidney.", None),
        ("left_right", "The left kidney lies in the right half of the image.", "right"),
        ("left_right", "In the left half of the image, or in the right half.", None),
        ("quarter", "In the upper left quarter of the image lies the liver.", "upper left"),
        ("quarter", "It lies in the left quarter.", None),
        ("larger", "The liver is larger than the spleen.", "liver"),
        ("larger", "The liver.", None),
        ("modality", "This is an X-ray image.", "x-ray"),
        ("modality", "This is a photograph.", "photograph"),
        ("area_mm2", "The liver covers about 310 square mm.", "310"),
        ("area_mm2", "The liver covers about 310 mm².", "310"),
        ("area_mm2", "The liver is about 31 mm long at the longest.", None),
        ("diameter_mm", "The longest diameter of the liver is about 31 mm.", "31"),
        ("diameter_mm", "The liver covers about 310 mm2.", None),
        ("area_percent", "The liver covers about 1.5 % of the image.", "1.5"),
        ("area_percent", "The liver covers about 1.5 percent of the image.", "1.5"),
    ],
)
def test_values_of_sentences(kind: str, answer: str, value: str | None) -> None:
    assert parse_value(kind, answer) == value


@pytest.mark.parametrize(
    ("kind", "said", "expected", "right"),
    [
        ("count", "3", "3", True),
        ("count", "3", "4", False),
        ("count", None, "4", False),
        ("modality", "mr", "MR", True),
        ("area_percent", "12", "10", True),
        ("area_percent", "12.1", "10", False),
        ("diameter_mm", "8", "10", True),
        ("diameter_mm", "7.9", "10", False),
    ],
)
def test_right_values(kind: str, said: str | None, expected: str, right: bool) -> None:
    assert is_right(kind, said, expected) is right


def test_plural_names_have_plural_verbs() -> None:
    name = next(name for name, entity in vocabulary().items() if entity.plural)
    mask = np.zeros((40, 40), dtype=bool)
    mask[3:15, 2:17] = True
    rng = np.random.default_rng(1)
    scene = Scene(SliceMasks({name: mask}), "CT", [], [], None)
    texts = [
        sample.answer for _ in range(30) for sample in measured_samples(scene, 6, rng) if sample.value[0] == "quarter"
    ]
    assert texts
    assert not any(re.search(r"\b(is|lies)\b", text) for text in texts)
