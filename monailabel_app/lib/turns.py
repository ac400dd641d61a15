"""Who may compute: one at a time, and what a person waits for goes before what is only prepared."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """A lock with two ranks. The processor's cores already work together on one request; two at once would only share them."""

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._busy = False
        self._waiting = 0

    @contextmanager
    def take(self, background: bool = False) -> Iterator[None]:
        """Wait for one's turn; in the background, also until nobody else waits."""
        with self._free:
            self._waiting += not background
            try:
                self._free.wait_for(lambda: not self._busy and not (background and self._waiting))
            finally:
                self._waiting -= not background
            self._busy = True
        try:
            yield
        finally:
            with self._free:
                self._busy = False
                self._free.notify_all()
