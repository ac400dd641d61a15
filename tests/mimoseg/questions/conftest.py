"""Knowledge entries that the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_mimo.mimoseg.questions.knowledge import Knowledge, load_knowledge
from monai_mimo.mimoseg.questions.pool import RowSettings

EXAMPLE = Path(__file__).with_name("example.yaml")


@pytest.fixture(scope="session")
def knowledge() -> dict[str, Knowledge]:
    return load_knowledge([EXAMPLE])


@pytest.fixture(scope="session")
def settings() -> RowSettings:
    return RowSettings({}, knowledge=(EXAMPLE,))
