"""What several commands need."""

from __future__ import annotations

import gc

from monai_mimo.cli import main


def test_an_error_of_ask_leaves_the_garbage_collector_on() -> None:
    assert main(["ask", "no-such-file.png", "--question", "What is this?"]) == 2
    assert gc.isenabled()
