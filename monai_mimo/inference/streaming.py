"""Hand on what is being written while it is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Event, Thread

from .answer import Answer


def stream_answer(ask: Callable[[Callable[[str], None]], Answer]) -> Iterator[str | Answer]:
    """The pieces of a text, and last the answer, whose text they make. Closing the iterator before its end ends the writing.

    Args:
        ask: gives the answer, and calls what it is given with each piece; it runs in a thread of its own.
    """
    pieces: SimpleQueue[str | Answer | BaseException] = SimpleQueue()
    closed = Event()

    def on_text(piece: str) -> None:
        if closed.is_set():
            raise _Closed
        pieces.put(piece)

    def work() -> None:
        try:
            pieces.put(ask(on_text))
        except BaseException as error:  # is raised where the iterator is read
            pieces.put(error)

    writer = Thread(target=work, name="mimo-writer", daemon=True)
    writer.start()
    try:
        while True:
            piece = pieces.get()
            if isinstance(piece, BaseException):
                raise piece
            yield piece
            if isinstance(piece, Answer):
                return
    finally:
        closed.set()
        writer.join()


class _Closed(Exception):
    """Nobody reads what is being written."""
