"""Training by MONAI's Ignite engines; the bundle's configs name what is exported here."""

from .checkpoints import Checkpoints, RandomState, TrainedParts
from .distribute import WholeWeights, distribute
from .features import encode_once
from .fine_tune import FineTuned, Quality, build_labelled, fine_tune, quality_of, train_steps
from .handlers import BestWeights, GradientClip, History, NanGuard, TensorBoardOverlays, TimeBudget, timed
from .scalars import ScalarLog
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
    training_data,
    training_loader,
    warmup_cosine,
)
from .trainer import MimoTrainer, calibrate_at_end, run_training

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
    "ScalarLog",
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
    "of_perspectives",
    "perspective_weights",
    "prepare_batch",
    "prepare_model",
    "quality_of",
    "rows_hash",
    "rows_that_fit",
    "run_training",
    "some_images",
    "timed",
    "tokenizer_for",
    "train_steps",
    "training_data",
    "training_loader",
    "warmup_cosine",
]
