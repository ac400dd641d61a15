"""What is trained before the training, a stage at a time, each without the parts of the model that it does not need."""

from .encoder import pretrain_encoder, with_names
from .projector import pretrain_projector
from .stages import EncoderPretraining, LoadPartial, ProjectorPretraining, TextPretraining, run_stages
from .text import TEXT_PARTS, pretrain_text

__all__ = [
    "TEXT_PARTS",
    "EncoderPretraining",
    "LoadPartial",
    "ProjectorPretraining",
    "TextPretraining",
    "pretrain_encoder",
    "pretrain_projector",
    "pretrain_text",
    "run_stages",
    "with_names",
]
