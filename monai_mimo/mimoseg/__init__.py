"""Building the MIMOSeg data set and opening a built one."""

from .build import build
from .cases import SourceSpec
from .load import load_mimoseg
from .sources import discover, parse_source

__all__ = ["SourceSpec", "build", "discover", "load_mimoseg", "parse_source"]
