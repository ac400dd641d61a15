"""Training by MONAI's Ignite engines; the bundle's configs name what is exported here."""

from .checkpoints import Checkpoints
from .distribute import WholeWeights, distribute
from .features import encode_once
from .fine_tune import FineTuned, Quality, build_labelled, fine_tune, measure, train_steps
from .handlers import BestWeights, GradientClip, History, NanGuard, TensorBoardOverlays, TimeBudget, timed
from .setup import (
    SamplingConfig,
    adam,
    load_partial,
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
from .stages import MimoTrainer, calibrate_at_end, run_training
from .state import RandomState, TrainedParts

__all__ = [
    "BestWeights",
    "Checkpoints",
    "FineTuned",
    "GradientClip",
    "History",
    "MimoTrainer",
    "NanGuard",
    "Quality",
    "RandomState",
    "SamplingConfig",
    "TensorBoardOverlays",
    "TimeBudget",
    "TrainedParts",
    "WholeWeights",
    "adam",
    "build_labelled",
    "calibrate_at_end",
    "distribute",
    "encode_once",
    "fine_tune",
    "load_partial",
    "load_sets",
    "loss_of",
    "measure",
    "of_perspectives",
    "perspective_weights",
    "prepare_batch",
    "prepare_model",
    "rows_hash",
    "rows_that_fit",
    "run_training",
    "some_images",
    "timed",
    "tokenizer_for",
    "train_steps",
    "training_loader",
    "warmup_cosine",
]
