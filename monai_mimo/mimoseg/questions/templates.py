"""The texts of `templates.yaml` and `measured.yaml`, filled in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

import yaml


@cache
def templates() -> dict[str, Any]:
    """All templates: `instruction` (perspective I) and `visual_clue` (perspective II)."""
    return _load("templates.yaml")


@cache
def measured_templates() -> dict[str, Any]:
    """Those of perspective V: texts and grammar by kind, and the words that fill them."""
    return _load("measured.yaml")


def _load(name: str) -> dict[str, Any]:
    return yaml.safe_load((resources.files(__package__) / name).read_text())


def listed(phrases: Sequence[str]) -> str:
    """ "the a", "the a and the b", "the a, the b and the c"."""
    with_article = [f"the {phrase}" for phrase in phrases]
    return " and ".join([", ".join(with_article[:-1]), with_article[-1]] if len(phrases) > 1 else with_article)


def marked(phrase: str) -> str:
    """A phrase marked for its mask."""
    return f"<p> {phrase} </p> <SEG>"


def grounded(phrases: Sequence[str]) -> str:
    """A list with articles, each phrase marked for its mask."""
    return listed([marked(phrase) for phrase in phrases])


def sentence(text: str) -> str:
    """Start with a capital letter; a phrase tag does not count as a letter."""
    return text[:1].upper() + text[1:]
