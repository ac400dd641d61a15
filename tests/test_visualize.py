"""What is drawn where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from monai_mimo.visualize import PanelRow, ansi_answer, curves, overlay, panel, phrase_colors, save_picture

GREY = np.full((40, 60, 3), 100, np.uint8)


def test_overlay_colours_the_mask_and_leaves_the_rest() -> None:
    mask = np.zeros((40, 60), dtype=bool)
    mask[10:30, 20:40] = True
    [color] = phrase_colors(1)
    picture = overlay(GREY, [mask], [color], alpha=0.5)
    factor = picture.shape[0] // 40
    np.testing.assert_allclose(picture[20 * factor, 30 * factor], (100 + np.array(color)) / 2, atol=1)
    assert (picture[2 * factor, 2 * factor] == 100).all()
    assert (picture[20 * factor, 20 * factor - 1] == color).all()  # the outline, just outside


def test_overlay_draws_prompts_at_their_pixels() -> None:
    picture = overlay(GREY, [], [], points=[(10, 5), (50, 30, 0)], boxes=[(20, 10, 40, 30)])
    factor = picture.shape[0] // 40
    green, red = picture[int(5.5 * factor), int(10.5 * factor)], picture[int(30.5 * factor), int(50.5 * factor)]
    assert green[1] > green[0]
    assert red[0] > red[1]
    assert (picture[10 * factor, 30 * factor] == 255).all()
    assert (picture[20 * factor, 30 * factor] == 100).all()


def test_ansi_keeps_the_text() -> None:
    import re

    text = "the liver and the spleen."
    coloured = ansi_answer(text, [(4, 9), (18, 24)], phrase_colors(2))
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == text
    assert "mliver\x1b[0m" in coloured
    assert ansi_answer(text, [(4, 9)], phrase_colors(1), enabled=False) == text


def test_panel_and_curves_are_pictures(tmp_path: Path) -> None:
    mask = np.zeros((40, 60), dtype=bool)
    mask[10:30, 20:40] = True
    rows = [
        PanelRow(GREY, "What is <point>?", "It is the liver.", [(10, 15)], [mask], [mask], [(30, 20, 1)], title="CT"),
        PanelRow(GREY, "Where is the spleen? " * 4, "There is no spleen.", [], [], []),
    ]
    panel(rows, tmp_path / "panel.png")
    curves(
        {"text loss": [(n, 1 / n) for n in range(1, 60)], "validation f1": [(30, 0.5), (60, 0.8)]}, tmp_path / "c.png"
    )
    for name in ("panel.png", "c.png"):
        pixels = np.asarray(Image.open(tmp_path / name))
        assert pixels.std() > 5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.png", "panel.png"]


def test_save_picture_replaces_whole(tmp_path: Path) -> None:
    save_picture(GREY, tmp_path / "a.png")
    save_picture(GREY // 2, tmp_path / "a.png")
    assert (np.asarray(Image.open(tmp_path / "a.png")) == 50).all()
