"""The demo page: its session against `mimo ask`, its texts, and the page itself in a browser where there is one."""

from __future__ import annotations

import json
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from monai_mimo.cli import main
from monai_mimo.demo.page import Example, folder_examples, phantom_examples, render, render_notes, render_problem
from monai_mimo.demo.session import BOX, BRUSH_INSIDE, BRUSH_OUTSIDE, INSIDE, MOST_PROMPTS, OUTSIDE, Session
from monai_mimo.errors import InputError, SeveralError
from monai_mimo.inference import Answer, Entity, MimoPredictor
from monai_mimo.inference.safeguards import ADVICE, NOTICE, WITHHELD, Thresholds, guard
from monai_mimo.models import Mimo
from monai_mimo.phantom.writer import write_series
from monai_mimo.visualize import PALETTE

from ..transforms.dicom_files import dicom_file, series

EVIL = "<script>window.pwned = true</script><img src=x onerror='window.pwned = true'>${window.pwned = true}{{7*7}}"


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).integers(-100, 200, (20, 16, 6)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, np.diag([2.0, 2.0, 5.0, 1.0])), tmp_path / "ct.nii.gz")
    return tmp_path / "ct.nii.gz"


@pytest.fixture
def session(nano_weights: Path) -> Session:
    return Session(MimoPredictor(Mimo.from_pretrained(nano_weights), "nano"), Thresholds(0.5, 0.0))


def answering(monkeypatch: pytest.MonkeyPatch, text: str = "The liver.", phrase: str = "liver") -> list[tuple]:
    """An untrained model seldom grounds anything, so here it says one sentence with one mask; returns what was asked."""
    asked = []

    def ask(self: MimoPredictor, question: str, points: list, boxes: list, scribbles, mask_input=None) -> Answer:
        asked.append((question, list(points), list(boxes), scribbles))
        image = self._image
        assert image is not None
        h, w = image.resize.height, image.resize.width
        mask = np.zeros((h, w), dtype=bool)
        mask[2:5, 3:9] = True
        start = text.index(phrase)
        entity = Entity(phrase, (start, start + len(phrase)), mask, 0.4)
        return Answer(text, [entity], (h, w), image.slice, image.modality, image.spacing_mm, [], {"preset": "nano"})

    monkeypatch.setattr(MimoPredictor, "ask", ask)
    return asked


def test_says_what_the_predictor_says(session: Session, volume: Path, nano_weights: Path) -> None:
    session.open([volume])
    session.go(4)
    session.click(10 * 32 + 3, 8 * 32 + 3, INSIDE)  # shown 32 times as large
    assert session.points == [(10, 8, 1)]
    session.ask("What is at <point>?")
    predictor = MimoPredictor(Mimo.from_pretrained(nano_weights), "nano")
    predictor.set_image(volume, 4)
    expected = guard(predictor.ask("What is at <point>?", [(10, 8, 1)]), "", Thresholds(0.5, 0.0))
    assert session.guarded is not None
    assert session.guarded.to_json() == expected.to_json()


def test_clicks(session: Session, volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch)
    session.open([volume])
    assert session.number == 3
    assert session.picture().shape == (16 * 32, 20 * 32, 3)
    session.click(15 * 32, 9 * 32 + 31, BOX)
    assert session.corner == (15, 9)
    session.click(4 * 32 + 2, 2 * 32, BOX)
    session.click(0, 0, OUTSIDE)
    session.click(20 * 32, 16 * 32, INSIDE)  # at the rim of the picture
    session.ask("What?")
    assert asked == [("What?", [(0, 0, 0), (19, 15, 1)], [(4, 2, 16, 10)], (None, None))]
    session.go(2)
    assert (session.points, session.boxes, session.guarded, session.files()) == ([], [], None, [])
    for _ in range(MOST_PROMPTS):
        session.click(3, 3, INSIDE)
    with pytest.raises(InputError, match="prompts"):
        session.click(3, 3, INSIDE)


def test_brushes_undo_and_refining(session: Session, volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    logits = np.full((4, 4), 2.0, dtype=np.float32)

    def ask(self, question, points, boxes, scribbles, mask_input=None):
        given.append((question, points, scribbles, mask_input))
        mask = np.ones((16, 20), dtype=bool)
        return Answer("This is a region.", [Entity("region", (10, 16), mask, 0.9, logits)], (16, 20))

    monkeypatch.setattr(MimoPredictor, "ask", ask)
    session.open([volume])
    with pytest.raises(InputError, match="none to refine"):
        session.refine()
    session.brush([(2 * 32, 3 * 32), (7 * 32 + 9, 3 * 32)], BRUSH_INSIDE)
    session.brush([(19.5 * 32, 15.5 * 32)], BRUSH_OUTSIDE)
    session.click(3, 3, BRUSH_INSIDE)  # a brush is told by its stroke, and not by the click that ends it
    session.click(5 * 32, 5 * 32, INSIDE)
    inside, outside = session.scribbles
    expected = np.zeros((16, 20), dtype=bool)
    expected[3, 2:8] = True
    np.testing.assert_array_equal(inside, expected)
    assert np.argwhere(outside).tolist() == [[15, 19]]
    shown = session.picture()
    assert (shown[3 * 32 + 16, 4 * 32 + 16] != shown[12 * 32, 4 * 32 + 16]).any()
    session.ask("")
    session.undo()
    assert session.points == []
    assert session.guarded is None
    session.refine()
    assert given[0][0] == given[1][0] == ""
    assert given[0][3] is None
    assert given[1][3] is logits
    for _ in range(3):
        session.undo()
    assert session.given == []
    assert session.scribbles == (None, None)


def test_files_lie_on_the_voxels_of_the_input(session: Session, volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch)
    session.open([volume], plane="coronal")
    session.go(5)
    session.ask("Where is the liver?")
    files = {f.name: f for f in session.files()}
    assert set(files) == {"answer.json", "overlay.png", "labels.png", "labels.nii.gz"}
    labels = nib.load(files["labels.nii.gz"])
    np.testing.assert_array_equal(labels.affine, nib.load(volume).affine)
    # a coronal slice of RAS voxels: rows run from superior, columns from the patient's right; slice 5 from anterior
    expected = np.zeros((20, 16, 6))
    expected[20 - 9 : 20 - 3, 16 - 1 - 5, 6 - 5 : 6 - 2] = 1
    np.testing.assert_array_equal(labels.get_fdata(), expected)
    with Image.open(files["labels.png"]) as image:
        shown = np.asarray(image)
        assert shown.shape == (6, 20)
        assert (shown == 1).sum() == 18
        assert image.convert("RGB").getpixel((4, 3)) == PALETTE[0]
    told = json.loads(files["answer.json"].read_text())
    assert told["entities"][0]["box"] == [3, 2, 9, 5]
    assert told["entities"][0]["status"] == "uncertain"
    assert told["notices"] == [NOTICE]


def test_a_series_may_come_in_any_order(session: Session, tmp_path: Path) -> None:
    values = np.arange(8 * 8 * 5, dtype=np.int16).reshape(8, 8, 5)
    write_series(tmp_path / "dicom", values, np.diag([-1.0, -1.0, 3.0, 1.0]), "x", 0)
    files = sorted((tmp_path / "dicom").iterdir())
    session.open(files[::-1])
    assert session.image is not None
    first = session.image.frames.copy()
    session.open(files)
    np.testing.assert_array_equal(session.image.frames, first)
    assert first.shape == (5, 8, 8)


def test_one_of_several_series_is_chosen(session: Session, volume: Path, tmp_path: Path) -> None:
    folder = series(tmp_path / "s", [0, 1, 2, 0, 1, 2], EchoTime=[10, 10, 10, 80, 80, 80])
    session.open([volume])
    with pytest.raises(SeveralError):
        session.open(sorted(folder.iterdir()))
    assert session.image is not None
    assert session.image.path == volume  # what was open stays open
    session.reopen("coronal", None)
    assert (session.image.path, session.image.plane, session.chosen) == (volume, "coronal", None)
    assert session.several is not None
    assert session.several.choices == ("3 x 6 x 8 CT, EchoTime 10", "3 x 6 x 8 CT, EchoTime 80")
    for number in (1, 0):
        session.choose(number)
        assert session.image.frames[:, 0, 0].tolist() == [3 * number + k for k in range(3)]
        assert session.chosen == number
    session.choose(1)
    session.reopen("sagittal", None)
    assert session.image.frames[0, 0].tolist() == [5, 5, 5, 5, 5, 5, 5, 5]
    with pytest.raises(InputError):
        session.choose(2)
    session.open([volume])
    assert (session.several, session.chosen) == (None, None)
    with pytest.raises(InputError):
        session.choose(0)


def test_one_of_several_volumes_is_chosen(session: Session, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 9, (5, 4, 3, 2)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, np.diag([-1, -1, 1, 1])), tmp_path / "four.nii")
    with pytest.raises(SeveralError) as error:
        session.open([tmp_path / "four.nii"])
    assert (error.value.argument, error.value.choices) == ("channel", ("0", "1"))
    session.choose(1)
    assert session.image is not None
    np.testing.assert_array_equal(session.image.frames, values[..., 1].T)


def test_the_two_files_of_a_volume_are_opened_together(session: Session, tmp_path: Path) -> None:
    import SimpleITK as sitk

    values = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / "a.mhd"))
    session.open([tmp_path / "a.raw", tmp_path / "a.mhd"])
    assert session.image is not None
    np.testing.assert_array_equal(session.image.frames, values)


def test_what_cannot_be_used(session: Session, volume: Path, tmp_path: Path) -> None:
    for use in (
        lambda: session.open([]),
        lambda: session.ask("What?"),
        lambda: session.click(1, 1, INSIDE),
        lambda: session.go(1),
    ):
        with pytest.raises(InputError):
            use()
    session.open([volume])
    (tmp_path / "bad.png").write_bytes(b"no picture")
    for use in (
        lambda: session.open([tmp_path / "bad.png"]),
        lambda: session.go(6),
        lambda: session.ask(" "),
        lambda: session.ask("x" * 501),
        lambda: session.ask("What is in <box>?"),
    ):
        with pytest.raises(InputError):
            use()
    assert session.image is not None  # what was open stays open
    assert session.number == 3


def test_nothing_stays_when_a_visitor_leaves(session: Session, volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch)
    session.open([volume])
    session.ask("Where?")
    files = session.files()
    session.close()
    assert not any(f.exists() for f in files)
    assert not files[0].parent.parent.exists()


def test_all_text_is_escaped() -> None:
    entities = [
        Entity(EVIL, (1, 1 + len(EVIL)), np.ones((2, 2), bool), 0.9),
        Entity("weak", (1 + len(EVIL) + 1, 1 + len(EVIL) + 5), np.ones((2, 2), bool), 0.01),
    ]
    answer = Answer(f" {EVIL} weak {EVIL}", entities, (2, 2), warnings=[EVIL], model={"preset": EVIL, "weights": EVIL})
    html = render(guard(answer, f"Diagnose {EVIL}")) + render_problem(EVIL) + render_notes([EVIL])
    assert "<script" not in html
    assert "<img" not in html
    assert "weak" not in html
    assert WITHHELD in html
    assert "withheld: a phrase" in html
    assert ADVICE in html


def test_an_uncertain_phrase_is_marked(session: Session, volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch)
    session.open([volume])
    session.ask("Where?")
    assert session.guarded is not None
    assert ">uncertain<" in render(session.guarded)
    assert ">uncertain<" not in render(replace(session.guarded, statuses=["shown"]))
    assert "18 px, 0.7 cm²" in render(session.guarded)  # of 2 mm by 2 mm


def test_examples(tmp_path: Path, session: Session, volume: Path) -> None:
    for example in phantom_examples(tmp_path / "phantom"):
        session.open(example.files, modality=example.modality)
        assert session.picture().std() > 5
    write_series(tmp_path / "own" / "a series", np.zeros((4, 4, 3), np.int16), np.eye(4), "x", 0)
    shutil.copy(volume, tmp_path / "own")
    (tmp_path / "own" / "notes.txt").write_text("none")
    found = folder_examples(tmp_path / "own")
    assert [(e.name, len(e.files)) for e in found] == [("a series", 3), ("ct.nii.gz", 1)]
    for folder in (tmp_path / "nowhere", tmp_path / "phantom"):
        if folder.exists():
            shutil.rmtree(folder)
            folder.mkdir()
        with pytest.raises(InputError):
            folder_examples(folder)


@pytest.mark.parametrize(
    "options", [["--weights", "/nowhere"], ["--examples", "/nowhere"], ["--uncertain", "0.1", "--withhold", "0.2"]]
)
def test_bad_options(options: list[str], capsys: pytest.CaptureFixture) -> None:
    assert main(["demo", *options]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_page_in_a_browser(tmp_path: Path, nano_weights: Path, volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real clicks on the real page: no request leaves the machine, and nothing in a text or name is executed."""
    gradio = pytest.importorskip("gradio")
    playwright = pytest.importorskip("playwright.sync_api")
    from monai_mimo.demo.page import serve_demo

    asked = answering(monkeypatch, f"The liver. {EVIL}", f"liver. {EVIL}")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    upload = tmp_path / "<img src=x onerror='window.pwned = true'>.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (400, 300), dtype=np.uint8)).save(upload)
    broken = tmp_path / "<b>broken<b>.png"
    broken.write_bytes(b"none")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    examples = [Example(EVIL, [volume], EVIL, "CT")]
    address = serve_demo(
        MimoPredictor(Mimo.from_pretrained(nano_weights), EVIL), Thresholds(), examples, "127.0.0.1", port, block=False
    )
    requests: list[str] = []
    flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    try:
        with playwright.sync_playwright() as browsers:
            browser = browsers.chromium.launch(executable_path=CHROMIUM, args=flags)
            page = browser.new_page(viewport={"width": 1280, "height": 860})
            page.set_default_timeout(90_000)
            page.on("request", lambda request: requests.append(request.url))
            page.goto(address)
            folder = series(tmp_path / "series", [0, 1, 2, 0, 1, 2], EchoTime=[10, 10, 10, 80, 80, 80])
            dicom_file(folder / "scout.dcm", np.zeros((9, 9), np.uint16), ImageType="ORIGINAL\\PRIMARY\\LOCALIZER")
            page.locator("#upload input[type=file]").set_input_files([str(f) for f in folder.iterdir()])
            page.wait_for_selector("#problem [role=alert]")
            assert "3 images in" in page.inner_text("#problem")
            page.click("#one input")
            page.click("[role=option]:has-text('EchoTime 80')")
            page.wait_for_selector("#picture img")
            page.wait_for_function("!document.querySelector('#problem [role=alert]')")
            page.click("#example input")
            page.click("[role=option]")
            page.wait_for_selector("#picture img")
            page.wait_for_function("document.querySelector('#question textarea').value.includes('pwned')")
            page.click("#ask")
            page.wait_for_selector("#answer mark")
            assert "<script>window.pwned" in page.inner_text("#answer")
            assert "labels" in page.wait_for_selector("#downloads a").inner_text() + page.inner_text("#downloads")

            page.locator("#upload input[type=file]").set_input_files(str(upload))
            page.wait_for_selector("#slice", state="hidden")
            page.wait_for_selector("#answer .empty")
            page.wait_for_function("document.querySelector('#picture img').naturalWidth == 405")
            box = page.locator("#picture img").bounding_box()
            scale = 540 / 400  # the picture is shown as large as it is, in the middle of its frame
            left, top = box["x"] + (box["width"] - 405) / 2, box["y"] + (box["height"] - 540) / 2

            def click(x: float, y: float) -> None:
                before = page.locator("#picture img").get_attribute("src")
                page.mouse.click(left + x * scale, top + y * scale)
                page.wait_for_function("src => document.querySelector('#picture img').src !== src", arg=before)
                page.wait_for_timeout(2000)  # Gradio drops a click while it still ends the event of the one before

            click(150.5, 100.5)
            page.click("#tool label:has-text('box')")
            click(60.5, 40.5)
            click(240.5, 300.5)
            page.fill("#question textarea", "What is the diagnosis?")
            page.keyboard.press("Enter")
            page.wait_for_selector("#answer .advice")
            page.wait_for_selector("#answer mark")
            page.screenshot(path=str(tmp_path / "page.png"))

            page.click("#undo")
            page.wait_for_selector("#answer .empty")
            page.wait_for_timeout(2000)
            page.click("#tool label:has-text('brush inside')")
            before = page.locator("#picture img").get_attribute("src")
            page.mouse.move(left + 30.5 * scale, top + 200.5 * scale)
            page.mouse.down()
            page.mouse.move(left + 90.5 * scale, top + 200.5 * scale, steps=6)
            page.mouse.up()
            page.wait_for_function("src => document.querySelector('#picture img').src !== src", arg=before)
            page.wait_for_timeout(2000)
            page.click("#ask")
            page.wait_for_selector("#answer mark")
            page.screenshot(path=str(tmp_path / "brush.png"))
            page.locator("#upload button[aria-label*=lear], #upload button[title*=lear]").first.click()
            page.locator("#upload input[type=file]").set_input_files(str(broken))
            page.wait_for_selector("#problem [role=alert]")
            assert "cannot be read" in page.inner_text("#problem")
            assert page.evaluate("window.pwned === undefined")
            browser.close()
    finally:
        gradio.close_all()
    outside = [url for url in requests if not url.startswith((address, "data:", "blob:"))]
    assert not outside
    [first, [question, points, boxes, _], [_, _, _, (inside, nothing)]] = asked
    assert first[0] == EVIL
    assert question == "What is the diagnosis?"
    np.testing.assert_allclose(points, [(150, 100, 1)], atol=1)
    np.testing.assert_allclose(boxes, [(60, 40, 241, 301)], atol=1)
    assert nothing is None
    rows, columns = np.nonzero(inside)
    np.testing.assert_allclose(rows, 200, atol=1)
    np.testing.assert_allclose([columns.min(), columns.max()], [30, 90], atol=1)
