"""Who works on which objects of which volume: a session per user, client and image, bounded in number, memory and idle time."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import RLock

from monai_mimo.errors import InputError
from monai_mimo.inference.volume_session import VolumeSession

from .model import Model
from .request_limits import whole_number
from .study_image import StudyImage

Key = tuple[str, str, str]  # user, session and image


@dataclass(frozen=True)
class SessionLimits:
    """Sessions at most, minutes that one may be idle, MB of all of them, and objects of one."""

    sessions: int = 16
    minutes: int = 30
    megabytes: int = 2048
    objects: int = 64

    @classmethod
    def from_conf(cls, conf: Mapping[str, str]) -> SessionLimits:
        """`session_count`, `session_minutes`, `session_mb` and `session_objects`, where they are set.

        Raises:
            InputError: a value is no positive whole number.
        """
        named = {"sessions": "session_count", "minutes": "session_minutes", "megabytes": "session_mb"}
        named["objects"] = "session_objects"
        return cls(**{ours: whole_number(conf, theirs) for ours, theirs in named.items() if theirs in conf})


@dataclass
class WorkedOn:
    """An object, where it came from ("question", "prompts" or "mask"), how often its mask changed, and its name where that is
    another than the weights know."""

    session: VolumeSession
    origin: str
    revision: int = 1
    title: str | None = None

    @property
    def phrase(self) -> str:
        return self.title or self.session.phrase


@dataclass
class Session:
    """What one client works on in one image."""

    image_id: str
    image: StudyImage
    plane: str
    model: Model
    objects: dict[str, WorkedOn] = field(default_factory=dict)
    count: int = 0
    used: float = 0.0
    progress: tuple[int, int] | None = None
    lock: RLock = field(default_factory=RLock)

    @property
    def nbytes(self) -> int:
        """Memory of the image and the objects."""
        return self.image.nbytes + sum(o.session.nbytes for o in list(self.objects.values()))

    def add(self, session: VolumeSession, origin: str, most: int) -> str:
        """A new object; its id.

        Raises:
            InputError: there are too many.
        """
        if len(self.objects) >= most:
            raise InputError("object", f"{len(self.objects)} of them", f"at most {most} (session_objects)")
        self.count += 1
        self.objects[str(self.count)] = WorkedOn(session, origin)
        return str(self.count)

    def of(self, id: object) -> WorkedOn:
        """An object by its id. Raises `InputError` if there is none."""
        if not isinstance(id, str) or id not in self.objects:
            raise InputError("object", repr(id)[:80], f"one of {list(self.objects)}")
        return self.objects[id]


class Ended(Exception):
    """There is no such session: it was never opened, it ended, or the server was restarted."""


class VolumeSessions:
    """All sessions, the one used last at the end.

    Args:
        limits: beyond which those that were idle longest are ended.
        now: the clock, in seconds.
    """

    def __init__(self, limits: SessionLimits | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self.limits, self._now = limits or SessionLimits(), now
        self._sessions: OrderedDict[Key, Session] = OrderedDict()
        self._lock = RLock()

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, key: Key, made: Session) -> tuple[Session, bool]:
        """The session of `key`, and whether it was there already; one in another plane or of other weights or of a file that was
        exchanged is replaced by `made`."""
        with self._lock:
            self._end_old()
            old = self._sessions.get(key)
            same = old is not None and (old.image.key, old.model.hash) == (made.image.key, made.model.hash)
            session = old if old is not None and same else made
            self._sessions[key] = session
            self._touch(key)
            return session, same

    def get(self, key: Key) -> Session:
        """Raises:
        Ended: see there.
        """
        with self._lock:
            self._end_old()
            if key not in self._sessions:
                raise Ended
            self._touch(key)
            return self._sessions[key]

    def close(self, key: Key) -> None:
        """End one; nothing happens where there is none."""
        with self._lock:
            self._sessions.pop(key, None)

    def _touch(self, key: Key) -> None:
        self._sessions.move_to_end(key)
        self._sessions[key].used = self._now()

    def _end_old(self) -> None:
        limits, now = self.limits, self._now()
        for key in [k for k, s in self._sessions.items() if now - s.used > 60 * limits.minutes]:
            del self._sessions[key]
        while len(self._sessions) > limits.sessions:
            self._sessions.popitem(last=False)
        while len(self._sessions) > 1 and sum(s.nbytes for s in self._sessions.values()) > limits.megabytes << 20:
            self._sessions.popitem(last=False)
