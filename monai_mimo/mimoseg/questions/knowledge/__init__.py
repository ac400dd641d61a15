"""What is known of the entities: one YAML file for each part of the body, and the records that they hold."""

from .record import ASPECTS, Knowledge, load_knowledge

__all__ = ["ASPECTS", "Knowledge", "load_knowledge"]
