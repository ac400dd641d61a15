"""OHIF in a real Chromium, and a hand on its mouse: positions are given in millimetres of the patient."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .services import CHROMIUM

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--use-gl=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
AXIAL = "mpr-axial"  # the names of the views in the stock MONAI Label mode
POSITIVE, NEGATIVE, BOX = "MimoPositivePoint", "MimoNegativePoint", "MimoBox"
SCRIBBLE, ERASER, PAINT, RUB = "MimoScribble", "MimoEraser", "MimoPaint", "MimoRub"


@contextlib.contextmanager
def browser(width: int = 1280, height: int = 720) -> Iterator[Any]:
    """A page of a headless Chromium; its uncaught errors are in `page.failures`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as drivers:
        chromium = drivers.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = chromium.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(240_000)
        page.failures = []
        page.on("pageerror", lambda error: page.failures.append(str(error)))
        try:
            yield page
        finally:
            chromium.close()


class Viewer:
    """A study, open in the MONAI Label mode."""

    def __init__(self, page: Any, server_url: str, study: str, pictures: Path, welcome: bool = True) -> None:
        self.page, self.url, self.pictures = page, server_url, pictures
        page.goto(f"{server_url}/ohif/monai-label?StudyInstanceUIDs={study}")
        self.wait(
            "const v = window.services?.cornerstoneViewportService?.getCornerstoneViewport('mpr-axial');"
            "return v && v.getImageIds().length > 0 && v.getActors().length > 0"
        )
        if welcome:  # a browser is told only once that OHIF is for investigational use
            page.get_by_text("Confirm and Hide").click()
        page.wait_for_timeout(1000)  # the first frames after the layout has settled

    @classmethod
    def of(cls, page: Any, server_url: str, pictures: Path) -> Viewer:
        """A page that shows a study already."""
        viewer = cls.__new__(cls)
        viewer.page, viewer.url, viewer.pictures = page, server_url, pictures
        return viewer

    def wait(self, body: str, seconds: float = 90) -> None:
        """Until the JavaScript function body returns something true."""
        self.page.wait_for_function(f"() => {{ {body} }}", timeout=seconds * 1000)

    def picture(self, name: str) -> None:
        """Keep a screenshot."""
        self.pictures.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(self.pictures / f"{name}.png"))

    def open_panel(self) -> None:
        """Bring the MIMO tab to the front."""
        self.page.click("[data-cy=mimo-btn]")
        self.part("question").wait_for()
        self.page.wait_for_function("document.querySelector('[data-mimo=model]').textContent.includes('Ready')")

    def part(self, name: str) -> Any:
        """A part of the panel."""
        return self.page.locator(f"[data-mimo={name}]")

    def screen(self, world: Sequence[float], view: str = AXIAL) -> tuple[float, float]:
        """Where a point of the patient (millimetres LPS) is on the page."""
        x, y = self.page.evaluate(
            """([view, world]) => {
              const viewport = window.services.cornerstoneViewportService.getCornerstoneViewport(view);
              const { left, top } = viewport.canvas.getBoundingClientRect();
              const [x, y] = viewport.worldToCanvas(world);
              return [left + x, top + y];
            }""",
            [view, [float(v) for v in world]],
        )
        return x, y

    def screen_of_pixel(self, column: float, row: float) -> tuple[float, float]:
        """Where a pixel of an image without a place in space is on the page."""
        world = self.page.evaluate(
            """([column, row]) => {
              const viewport = window.services.cornerstoneViewportService.getCornerstoneViewport('default');
              return [...viewport.getImageData().imageData.indexToWorld([column, row, 0])];
            }""",
            [column, row],
        )
        return self.screen(world, "default")

    def go_to(self, world: Sequence[float], half_height_mm: float = 100, view: str = AXIAL) -> None:
        """Look at a point, in the slice through it, so near that a pixel of the screen is a small part of a voxel."""
        self.page.evaluate(
            """([view, world, parallelScale]) => {
              const viewport = window.services.cornerstoneViewportService.getCornerstoneViewport(view);
              const { focalPoint, position } = viewport.getCamera();
              const moved = position.map((v, axis) => v + world[axis] - focalPoint[axis]);
              viewport.setCamera({ focalPoint: world, position: moved, parallelScale });
              viewport.render();
            }""",
            [view, [float(v) for v in world], half_height_mm],
        )
        self.page.wait_for_timeout(500)

    def tool(self, name: str) -> None:
        """Take a tool of the panel."""
        self.page.click(f"[data-mimo-tool={name}]")

    def drag(self, start: Sequence[float], end: Sequence[float]) -> None:
        """Draw from one point of the patient to another."""
        self.drag_on_screen(self.screen(start), self.screen(end))

    def drag_on_screen(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Draw from one point of the page to another."""
        (x0, y0), (x1, y1) = start, end
        mouse = self.page.mouse
        mouse.move(x0, y0)
        mouse.down()
        mouse.move((x0 + x1) / 2, (y0 + y1) / 2, steps=4)
        mouse.move(x1, y1, steps=4)
        mouse.up()
        self.page.wait_for_timeout(300)

    def click(self, world: Sequence[float]) -> None:
        """Look at a point of the patient, and click on it."""
        self.go_to(world)
        self.point_at(world)

    def point_at(self, world: Sequence[float]) -> None:
        """Click on a point of the patient that is in view."""
        x, y = self.screen(world)
        self.page.mouse.move(x - 40, y - 40)  # a hand comes from somewhere
        self.page.mouse.move(x, y, steps=4)
        self.page.mouse.down()
        self.page.mouse.up()
        self.page.wait_for_timeout(800)  # two clicks at one place within less are a double click

    def ask(self, question: str) -> str:
        """Type a question, press Enter, and wait for the answer's text."""
        self.part("question").fill(question)
        self.part("question").press("Enter")
        self.wait("return document.querySelector('.mimo').getAttribute('aria-busy') === 'false'", 180)
        self.page.wait_for_timeout(500)  # the masks are drawn
        return str(self.part("text").inner_text())

    def voxels(self, segmentation: str) -> list[list[Any]]:
        """Each marked pixel of a segmentation of OHIF: [SOPInstanceUID, column, row, segment]."""
        return self.page.evaluate(  # type: ignore[no-any-return]
            """segmentation => {
              const { cache, metaData } = window.cornerstone;
              const { Labelmap } = window.cornerstoneTools.segmentation.state.getSegmentation(segmentation).representationData;
              const imageIds = Labelmap.imageIds ?? cache.getVolume(Labelmap.volumeId).imageIds;
              const found = [];
              for (const imageId of imageIds) {
                const image = cache.getImage(imageId);
                const uid = metaData.get('instance', image.referencedImageId).SOPInstanceUID;
                image.voxelManager.getScalarData().forEach((value, n) => {
                  if (value) found.push([uid, n % image.columns, Math.floor(n / image.columns), value]);
                });
              }
              return found;
            }""",
            segmentation,
        )

    def color(self, world: Sequence[float]) -> tuple[int, int, int]:
        """The colour on the screen at a point of the patient, the mean of 3 x 3 pixels."""
        import io

        import numpy as np
        from PIL import Image

        x, y = self.screen(world)
        shot = self.page.screenshot(clip={"x": x - 1, "y": y - 1, "width": 3, "height": 3})
        red, green, blue = np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), float).mean((0, 1))
        return int(red), int(green), int(blue)
