"""Start a preset from the checkpoints that people have: what `llm`, `image_encoder` and `seg_encoder` do to a configuration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from .config import ImageEncoderConfig, MimoConfig
from .pretrained import PACKAGED, language_model_architecture
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
        llm = llm if llm in PACKAGED else str(Path(llm).resolve())  # to be found again from elsewhere
        language_model = replace(config.language_model, source=llm, architecture=language_model_architecture(llm))
        config = replace(config, language_model=language_model)
    if image_encoder:
        tower = tower_config(str(Path(image_encoder).resolve()))
        config = replace(config, image_encoder=replace(tower, **_kept(config.image_encoder, tower)))
    if seg_encoder:
        seg_encoder = str(Path(seg_encoder).resolve())
        sam = read_sam(seg_encoder)
        encoder = ImageEncoderConfig("sam", source=seg_encoder, architecture=sam.architecture)
        config = replace(
            config,
            image_size=sam.architecture["image_size"],
            segmentation_encoder=replace(encoder, **_kept(config.segmentation_encoder, encoder)),
            mask_decoder=sam.mask_decoder,
        )
    return config


def _kept(old: ImageEncoderConfig | None, new: ImageEncoderConfig) -> dict[str, Any]:
    """What a preset says of an encoder holds for the checkpoint of one of the same kind; of another kind it is frozen."""
    return {"frozen": old.frozen, "layer": old.layer} if old is not None and old.name == new.name else {}
