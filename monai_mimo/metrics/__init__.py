"""How well answers and masks fit the references."""

from typing import TYPE_CHECKING

from ..lazy import lazy

if TYPE_CHECKING:
    from .bootstrap import bootstrap_ratios, sums_by_patient
    from .calibration import Reliability, apply_temperature, fit_temperature, is_correct, reliability
    from .grounding import GroundingMetric, Reference
    from .matching import Grounded, match_pairs, match_phrases, normalise_phrase, overlaps, predicted_ious
    from .obedience import NamingQuestion, PromptedAnswer, PromptSwap, absent_entities, prompt_swap_accuracy
    from .table import format_table
    from .text import MeasuredAnswer, closed_right, measured_accuracy, measured_answer, open_recall, text_metrics

__all__ = [
    "Grounded",
    "GroundingMetric",
    "MeasuredAnswer",
    "NamingQuestion",
    "PromptSwap",
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
    "normalise_phrase",
    "open_recall",
    "overlaps",
    "predicted_ious",
    "prompt_swap_accuracy",
    "reliability",
    "sums_by_patient",
    "text_metrics",
]

lazy(
    __name__,
    {
        "NamingQuestion": "obedience",
        "absent_entities": "obedience",
        "bootstrap_ratios": "bootstrap",
        "sums_by_patient": "bootstrap",
        "Reliability": "calibration",
        "apply_temperature": "calibration",
        "fit_temperature": "calibration",
        "is_correct": "calibration",
        "reliability": "calibration",
        "GroundingMetric": "grounding",
        "Reference": "grounding",
        "Grounded": "matching",
        "match_pairs": "matching",
        "match_phrases": "matching",
        "overlaps": "matching",
        "predicted_ious": "matching",
        "MeasuredAnswer": "text",
        "measured_accuracy": "text",
        "measured_answer": "text",
        "PromptSwap": "obedience",
        "PromptedAnswer": "obedience",
        "prompt_swap_accuracy": "obedience",
        "normalise_phrase": "matching",
        "format_table": "table",
        "text_metrics": "text",
        "closed_right": "text",
        "open_recall": "text",
    },
)
