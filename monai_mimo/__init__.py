"""MIMO for MONAI: questions about medical images, answered in text whose phrases are tied to masks."""

from importlib.metadata import version

__version__ = version("monai-mimo")
