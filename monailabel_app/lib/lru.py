"""A cache that keeps what was used last, within a bound of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

Value = TypeVar("Value")


class LRUCache(Generic[Value]):
    """Thread-safe. What several threads ask for at once is made once; the others wait for it.

    Args:
        max_bytes: of all values together; 0 keeps nothing. A value that alone is larger is given but not kept.
        size_of: bytes of a value.
    """

    def __init__(self, max_bytes: int, size_of: Callable[[Value], int]) -> None:
        self.max_bytes, self._size_of = max_bytes, size_of
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._making: dict[Hashable, Future[Value]] = {}
        self.nbytes = self.hits = self.misses = 0

    def __contains__(self, key: Hashable) -> bool:
        """Whether a value is there, or on its way; asking does not count as a use."""
        with self._lock:
            return key in self._values or key in self._making

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of `key`, made by `make` if it is not there. An error of `make` goes to all who wait for it."""
        with self._lock:
            if key in self._values:
                self.hits += 1
                self._values.move_to_end(key)
                return self._values[key][0]
            self.misses += 1
            making = self._making.get(key)
            mine = making is None
            if making is None:
                making = self._making[key] = Future()
        if not mine:
            return making.result()
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                del self._making[key]
            making.set_exception(error)
            raise
        self._keep(key, value)
        making.set_result(value)
        return value

    def drop(self, keep: Callable[[Hashable], bool]) -> None:
        """Forget all keys but those that `keep` is true for."""
        with self._lock:
            for key in [k for k in self._values if not keep(k)]:
                self.nbytes -= self._values.pop(key)[1]

    def _keep(self, key: Hashable, value: Value) -> None:
        size = self._size_of(value)
        with self._lock:
            del self._making[key]
            if size > self.max_bytes:
                return
            self._values[key] = value, size
            self.nbytes += size
            while self.nbytes > self.max_bytes:
                self.nbytes -= self._values.popitem(last=False)[1][1]
