"""Training and evaluation by MONAI's Ignite engines; the bundle's configs name what is exported here."""

from .align_images import align_images
from .checkpoints import Checkpoints
from .distribute import WholeWeights, distribute
from .evaluation import about_run, evaluate, identity_of, join_processes, leave_processes
from .evaluation_data import evaluation_loader
from .evaluator import GroundingEvaluator, grounding_metrics
from .features import encode_once
from .fine_tune import FineTuned, Quality, build_labelled, fine_tune, measure, train_steps
from .handlers import BestWeights, GradientClip, NanGuard, Progress
from .history import History, TensorBoardOverlays
from .language import READ, read_texts
from .regions_first import known_names, train_on_regions, with_names
from .report import EvaluationReport
from .results import Results
from .run import run_training
from .setup import (
    adam,
    load_sets,
    loss_of,
    of_perspectives,
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
    "READ",
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
    "Results",
    "TensorBoardOverlays",
    "TimeBudget",
    "TrainedParts",
    "WholeWeights",
    "about_run",
    "adam",
    "align_images",
    "build_labelled",
    "distribute",
    "encode_once",
    "evaluate",
    "evaluation_loader",
    "fine_tune",
    "grounding_metrics",
    "identity_of",
    "join_processes",
    "known_names",
    "leave_processes",
    "load_sets",
    "loss_of",
    "measure",
    "of_perspectives",
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
    "train_on_regions",
    "train_steps",
    "training_loader",
    "warmup_cosine",
    "with_names",
]
