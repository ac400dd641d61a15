"""Start a preset from the checkpoints that people have: what `--llm`, `--image-encoder` and `--seg-encoder` do to a configuration."""

from __future__ import annotations

from dataclasses import replace

from .config import MimoConfig
from .pretrained import language_model_architecture


def with_sources(
    config: MimoConfig, llm: str | None = None, image_encoder: str | None = None, seg_encoder: str | None = None
) -> MimoConfig:
    """`config` with those of its parts replaced for which a checkpoint is given: its source and its sizes.

    Raises:
        WeightsError: a checkpoint is missing or of a kind that is not supported.
    """
    if llm:
        language_model = replace(config.language_model, source=str(llm), architecture=language_model_architecture(llm))
        config = replace(config, language_model=language_model)
    return config
