"""What is known of the entities: one YAML file for each part of the body, and the entries that they hold."""

from .entries import ASPECTS, Knowledge, Relation, load_knowledge, modality_words, relations

__all__ = ["ASPECTS", "Knowledge", "Relation", "load_knowledge", "modality_words", "relations"]
