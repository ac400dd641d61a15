"""Training and evaluation by MONAI's Ignite engines; the bundle's configs name what is exported here."""

from .evaluation import about_run, evaluate, identity_of, join_processes, leave_processes
from .evaluation_data import evaluation_loader
from .evaluator import GroundingEvaluator, grounding_metrics
from .handlers import BestWeights, GradientClip, LastCheckpoint, NanGuard, Progress, RandomState
from .history import History, TensorBoardOverlays
from .language import read_texts
from .report import EvaluationReport
from .results import Results
from .setup import (
    adam,
    prepare_batch,
    rows_that_fit,
    some_images,
    tokenizer_for,
    training_loader,
    warmup_cosine,
)

__all__ = [
    "BestWeights",
    "EvaluationReport",
    "GradientClip",
    "GroundingEvaluator",
    "History",
    "LastCheckpoint",
    "NanGuard",
    "Progress",
    "RandomState",
    "Results",
    "TensorBoardOverlays",
    "about_run",
    "adam",
    "evaluate",
    "evaluation_loader",
    "grounding_metrics",
    "identity_of",
    "join_processes",
    "leave_processes",
    "prepare_batch",
    "read_texts",
    "rows_that_fit",
    "some_images",
    "tokenizer_for",
    "training_loader",
    "warmup_cosine",
]
