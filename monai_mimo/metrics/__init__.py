"""How well answers and masks fit the references."""

from .grounding import GroundingMetric, Reference
from .matching import Grounded, match_pairs, match_phrases, overlaps
from .moved_prompt import moved_prompt_accuracy
from .phrases import normalise_phrase
from .table import format_table

__all__ = [
    "Grounded",
    "GroundingMetric",
    "Reference",
    "format_table",
    "match_pairs",
    "match_phrases",
    "moved_prompt_accuracy",
    "normalise_phrase",
    "overlaps",
]
