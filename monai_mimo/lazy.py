"""Packages whose parts are imported when they are asked for: asking about an image imports neither the builder nor MONAI."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any


def lazy(package: str, homes: Mapping[str, str]) -> None:
    """Give a package attributes that are imported when they are first asked for.

    Args:
        package: its `__name__`.
        homes: name -> the module of the package that has it. Where both have one name, the package has what the module has, as
            after `from .build import build`.
    """

    class Lazy(ModuleType):
        def __getattr__(self, name: str) -> Any:
            if name not in homes:
                raise AttributeError(f"module {package!r} has no attribute {name!r}")
            value = getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
            setattr(self, name, value)  # the next time it is there
            return value

        def __setattr__(self, name: str, value: Any) -> None:
            if isinstance(value, ModuleType) and homes.get(name) == name:  # as the import of a module does
                value = getattr(value, name)
            super().__setattr__(name, value)

    sys.modules[package].__class__ = Lazy
