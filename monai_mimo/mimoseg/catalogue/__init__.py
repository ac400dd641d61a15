"""What is known of the source sets, as data: one YAML record for each in `sets/`."""

from .record import LabelFile, Layout, Record, Series, catalogue, find_record, load_record

__all__ = ["LabelFile", "Layout", "Record", "Series", "catalogue", "find_record", "load_record"]
