"""Start a preset from the checkpoints that people have: what `llm`, `image_encoder` and `seg_encoder` do to a configuration."""

from __future__ import annotations

from dataclasses import replace

from .config import ImageEncoderConfig, MimoConfig
from .pretrained import language_model_architecture
from .sam import read_sam
from .vision_tower import tower_config


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
    if image_encoder:
        config = replace(config, image_encoder=tower_config(image_encoder, config.image_encoder.frozen))
    if seg_encoder:
        sam, old = read_sam(seg_encoder), config.segmentation_encoder
        frozen = True if old is None else old.frozen
        config = replace(
            config,
            image_size=sam.architecture["image_size"],
            segmentation_encoder=ImageEncoderConfig(
                "sam", frozen, source=str(seg_encoder), architecture=sam.architecture
            ),
            mask_decoder=sam.mask_decoder,
        )
    return config
