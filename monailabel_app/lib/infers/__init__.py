"""What a viewer can ask the server to do."""

from .ask import Ask
from .click import Click
from .segment import SegmentNames
from .task import MimoTask
from .volume import Volume

__all__ = ["Ask", "Click", "MimoTask", "SegmentNames", "Volume"]
