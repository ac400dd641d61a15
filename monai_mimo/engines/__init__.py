"""Training and evaluation by MONAI's Ignite engines; the bundle's configs name what is exported here."""

from .evaluation_data import evaluation_loader
from .evaluator import GroundingEvaluator, grounding_metrics
from .handlers import BestWeights, GradientClip, LastCheckpoint, NanGuard, Progress, RandomState
from .history import History, TensorBoardOverlays
from .language import read_texts
from .report import EvaluationReport
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
    "TensorBoardOverlays",
    "adam",
    "evaluation_loader",
    "grounding_metrics",
    "prepare_batch",
    "read_texts",
    "rows_that_fit",
    "some_images",
    "tokenizer_for",
    "training_loader",
    "warmup_cosine",
]
