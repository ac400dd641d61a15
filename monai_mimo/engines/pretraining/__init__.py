"""What is trained before the training, a stage at a time, each without the parts of the model that it does not need."""

from .encoder import pretrain_encoder, with_names
from .stages import EncoderPretraining, LoadPartial, TextPretraining, run_stages
from .text import TEXT_PARTS, pretrain_text

__all__ = [
    "TEXT_PARTS",
    "EncoderPretraining",
    "LoadPartial",
    "TextPretraining",
    "pretrain_encoder",
    "pretrain_text",
    "run_stages",
    "with_names",
]
