"""Training and evaluation by MONAI's Ignite engines; the bundle's configs name what is exported here."""

from .checkpoints import Checkpoints
from .distribute import WholeWeights, distribute
from .evaluator import GroundingEvaluator, grounding_metrics
from .features import encode_once
from .fine_tune import FineTuned, Quality, build_labelled, fine_tune, measure
from .handlers import BestWeights, GradientClip, NanGuard, Progress
from .history import History, TensorBoardOverlays
from .language import read_texts
from .report import EvaluationReport
from .run import run_training
from .setup import (
    adam,
    evaluation_loader,
    load_sets,
    perspective_weights,
    prepare_batch,
    prepare_model,
    rows_hash,
    rows_that_fit,
    some_images,
    tokenizer_for,
    training_loader,
    warmup_cosine,
)
from .state import RandomState, TrainedParts
from .take_over import take_over
from .time_budget import TimeBudget, timed
from .trainer import MimoTrainer

__all__ = [
    "BestWeights",
    "Checkpoints",
    "EvaluationReport",
    "FineTuned",
    "GradientClip",
    "GroundingEvaluator",
    "History",
    "MimoTrainer",
    "NanGuard",
    "Progress",
    "Quality",
    "RandomState",
    "TensorBoardOverlays",
    "TimeBudget",
    "TrainedParts",
    "WholeWeights",
    "adam",
    "build_labelled",
    "distribute",
    "encode_once",
    "evaluation_loader",
    "fine_tune",
    "grounding_metrics",
    "load_sets",
    "measure",
    "perspective_weights",
    "prepare_batch",
    "prepare_model",
    "read_texts",
    "rows_hash",
    "rows_that_fit",
    "run_training",
    "some_images",
    "take_over",
    "timed",
    "tokenizer_for",
    "training_loader",
    "warmup_cosine",
]
