"""How well answers and masks fit the references."""

from .absent import NamingQuestion, absent_entities
from .bootstrap import bootstrap_ratios, sums_by_patient
from .calibration import Reliability, apply_temperature, fit_temperature, is_correct, reliability
from .grounding import GroundingMetric, Reference
from .matching import Grounded, match_pairs, match_phrases, overlaps, predicted_ious
from .measured import MeasuredAnswer, measured_accuracy, measured_answer
from .moved_prompt import MovedPrompt, PromptedAnswer, moved_prompt_accuracy
from .phrases import normalise_phrase
from .table import format_table
from .text import text_metrics
from .vqa import closed_right, open_recall

__all__ = [
    "Grounded",
    "GroundingMetric",
    "MeasuredAnswer",
    "MovedPrompt",
    "NamingQuestion",
    "PromptedAnswer",
    "Reference",
    "Reliability",
    "absent_entities",
    "apply_temperature",
    "bootstrap_ratios",
    "closed_right",
    "fit_temperature",
    "format_table",
    "is_correct",
    "match_pairs",
    "match_phrases",
    "measured_accuracy",
    "measured_answer",
    "moved_prompt_accuracy",
    "normalise_phrase",
    "open_recall",
    "overlaps",
    "predicted_ious",
    "reliability",
    "sums_by_patient",
    "text_metrics",
]
