"""Presets, one YAML file each in `presets/`, and how they start from the checkpoints that people have."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from ..errors import InputError
from .config import ImageEncoderConfig, MimoConfig
from .pretrained import PACKAGED, language_model_architecture
from .sam import read_sam
from .vision_tower import tower_config


def preset_names() -> list[str]:
    """The presets that `load_preset` knows."""
    return sorted(f.name.removesuffix(".yaml") for f in (resources.files(__package__) / "presets").iterdir())


def load_preset(
    name: str,
    *,
    llm: str | None = None,
    image_encoder: str | dict[str, Any] | None = None,
    seg_encoder: str | None = None,
    **changes: Any,
) -> MimoConfig:
    """Read a preset.

    Args:
        llm: the pretrained language model to start from, see `LanguageModelConfig.source`.
        image_encoder: the checkpoint of a vision tower (`vision_tower`); or, like `changes`, an entry of the preset.
        seg_encoder: the SAM checkpoint (`sam`) that segmentation encoder, prompt encoder and mask decoder start from.
        changes: replace top-level entries of the preset (`lora={"rank": 8}`).

    Raises:
        InputError: there is no such preset.
        WeightsError: a checkpoint is missing or of a kind that is not supported.
    """
    if name not in preset_names():
        raise InputError("preset", repr(name), f"one of {', '.join(preset_names())}")
    text = (resources.files(__package__) / "presets" / f"{name}.yaml").read_text()
    if isinstance(image_encoder, dict):
        changes["image_encoder"], image_encoder = image_encoder, None
    config = MimoConfig.from_dict({"preset": name, **yaml.safe_load(text), **changes})
    encoder = config.image_encoder
    if encoder.source is not None and encoder.architecture is None:
        image_encoder = encoder.source
    if llm or image_encoder or seg_encoder:
        config = with_sources(config, llm, image_encoder, seg_encoder)
    return config


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
