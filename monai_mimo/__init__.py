"""MIMO for MONAI: questions about medical images, answered in text whose phrases are tied to masks."""

from importlib.metadata import version

__version__ = version("monai-mimo")

NOTICE = "Research use only; not for diagnosis."  # stands wherever a person sees what a model says
