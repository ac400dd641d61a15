"""The sizes of a model as data. A preset is one YAML file in `presets/`; nothing else tells one size from another."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

from ..errors import InputError


@dataclass(frozen=True)
class ImageEncoderConfig:
    """`name` is a key of `image_encoder.ENCODERS`; a frozen encoder gets no gradient and keeps its weights."""

    name: str
    frozen: bool = True
    pretrained: bool = True


@dataclass(frozen=True)
class AlignerConfig:
    """`queries` learned queries of `width` channels become as many tokens for the LLM. With `presence` the words of the
    instruction take part like them, and the LLM is told which of them name what is there (`models.presence`)."""

    queries: int
    width: int
    layers: int
    heads: int
    presence: bool = False


@dataclass(frozen=True)
class LanguageModelConfig:
    """`architecture` holds keyword arguments of `transformers.LlamaConfig`; `vocabulary` is the tokenizer's largest size."""

    vocabulary: int
    architecture: dict[str, Any]


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters of the LLM: with them the LLM's own weights are frozen, but for the new tokens' embeddings."""

    rank: int = 8
    alpha: int = 8
    target_modules: tuple[str, ...] = ("q_proj", "v_proj")


@dataclass(frozen=True)
class MaskDecoderConfig:
    """`multimask_outputs` is 3 in SAM; 0 leaves out the mask tokens that single-mask output never reads."""

    width: int
    layers: int
    heads: int
    mlp_width: int
    multimask_outputs: int = 0


@dataclass(frozen=True)
class TrainingConfig:
    """What a preset is trained with unless the bundle is told otherwise; the defaults are MIMO's published ones.

    Attributes:
        learning_rate, encoder_learning_rate: of Adam; the latter for an image encoder that is not frozen.
        images_per_batch, questions_per_image, accumulation_steps: their product is the global batch in questions.
        phrase_weight, alignment_weight, presence_weight: of `losses.MimoLoss`.
        language_steps: of `engines.read_texts`, for an LLM that starts from nothing.
        balanced: draw images at random, each modality of each source as often as any other, instead of each question once.
    """

    learning_rate: float = 3e-4
    encoder_learning_rate: float = 3e-4
    images_per_batch: int = 10
    questions_per_image: int = 1
    accumulation_steps: int = 4
    phrase_weight: float = 1.0
    alignment_weight: float = 0.0
    presence_weight: float = 0.0
    language_steps: int = 0
    balanced: bool = False


@dataclass(frozen=True)
class MimoConfig:
    """A whole model.

    Attributes:
        image_size: side in pixels of the square that images are resized and padded to.
        segmentation_encoder: the encoder whose features the mask decoder reads; none: those of `image_encoder`.
        lora: none trains the whole LLM.
    """

    preset: str
    image_size: int
    image_encoder: ImageEncoderConfig
    aligner: AlignerConfig
    language_model: LanguageModelConfig
    mask_decoder: MaskDecoderConfig
    segmentation_encoder: ImageEncoderConfig | None = None
    lora: LoraConfig | None = None
    training: TrainingConfig = TrainingConfig()

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> MimoConfig:
        lora = values.get("lora")
        if lora is not None:
            lora = LoraConfig(
                **{**lora, "target_modules": tuple(lora.get("target_modules", LoraConfig.target_modules))}
            )
        segmentation = values.get("segmentation_encoder")
        return cls(
            preset=values["preset"],
            image_size=values["image_size"],
            image_encoder=ImageEncoderConfig(**values["image_encoder"]),
            aligner=AlignerConfig(**values["aligner"]),
            language_model=LanguageModelConfig(**values["language_model"]),
            mask_decoder=MaskDecoderConfig(**values["mask_decoder"]),
            segmentation_encoder=ImageEncoderConfig(**segmentation) if segmentation else None,
            lora=lora,
            training=TrainingConfig(**values.get("training", {})),
        )

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def preset_names() -> list[str]:
    """The presets that `load_preset` knows."""
    return sorted(f.name.removesuffix(".yaml") for f in (resources.files(__package__) / "presets").iterdir())


def load_preset(name: str, **changes: Any) -> MimoConfig:
    """Read a preset; `changes` replace its top-level entries (`lora={"rank": 8}`).

    Raises:
        InputError: there is no such preset.
    """
    if name not in preset_names():
        raise InputError("preset", repr(name), f"one of {', '.join(preset_names())}")
    text = (resources.files(__package__) / "presets" / f"{name}.yaml").read_text()
    return MimoConfig.from_dict({"preset": name, **yaml.safe_load(text), **changes})
