"""Evaluation by generation: a model answers every question of a set, and a report says how well."""

from .answer_records import Results
from .evaluator import GroundingEvaluator, evaluation_loader, grounding_metrics
from .progress import Progress
from .report import EvaluationReport
from .run import about_run, evaluate, identity_of, join_processes, leave_processes

__all__ = [
    "EvaluationReport",
    "GroundingEvaluator",
    "Progress",
    "Results",
    "about_run",
    "evaluate",
    "evaluation_loader",
    "grounding_metrics",
    "identity_of",
    "join_processes",
    "leave_processes",
]
