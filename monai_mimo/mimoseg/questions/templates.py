"""The texts of `templates.yaml`, filled in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

import yaml


@cache
def templates() -> dict[str, Any]:
    """All templates: `instruction` (perspective I) and `visual_clue` (perspective II)."""
    return yaml.safe_load((resources.files(__package__) / "templates.yaml").read_text())


def listed(phrases: Sequence[str]) -> str:
    """ "the a", "the a and the b", "the a, the b and the c"."""
    with_article = [f"the {phrase}" for phrase in phrases]
    return " and ".join([", ".join(with_article[:-1]), with_article[-1]] if len(phrases) > 1 else with_article)


def grounded(phrases: Sequence[str]) -> str:
    """The same list, with each phrase marked for its mask."""
    return listed([f"<p> {phrase} </p> <SEG>" for phrase in phrases])


def sentence(text: str) -> str:
    """Start with a capital letter; a phrase tag does not count as a letter."""
    return text[:1].upper() + text[1:]
