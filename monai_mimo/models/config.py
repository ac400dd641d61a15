"""The sizes of a model as data; nothing else tells one size from another."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ImageEncoderConfig:
    """An image encoder; a frozen one gets no gradient and keeps its weights.

    Attributes:
        name: a key of `image_encoder.ENCODERS`: "efficientnet-lite0", "convolutions", "vision-tower" (a vision model of
            `transformers`) or "sam" (SAM's ViT).
        pretrained: whether "efficientnet-lite0" starts with the ImageNet weights of its package.
        source: of the last two, the folder or file of the checkpoint to start from; none: random weights.
        architecture: of the last two, their sizes, so that they can be built without `source`: keyword arguments of the
            `transformers` configuration that its `model_type` names, or of `sam.SamEncoder`.
        layer: whose patch features a vision tower gives, as an index of `hidden_states`: the last but one, as in LLaVA.
        mean, std: of the pixels (0..1) that the encoder was trained with.
    """

    name: str
    frozen: bool = True
    pretrained: bool = True
    source: str | None = None
    architecture: dict[str, Any] | None = None
    layer: int = -2
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class AlignerConfig:
    """`queries` learned queries of `width` channels become as many tokens for the LLM. With `presence` the words of the
    instruction take part like them, and the LLM is told which of them name what is there (`input_aligner.Presence`). With
    `names`, where names are known, regions tell: which names are there, and by name what the prompts show (`region_names`)."""

    queries: int
    width: int
    layers: int
    heads: int
    presence: bool = False
    names: bool = False


@dataclass(frozen=True)
class LanguageModelConfig:
    """A causal language model of `transformers`.

    Attributes:
        architecture: keyword arguments of the `transformers` configuration that its `model_type` ("llama" unless given) names.
        source: the pretrained model to start from, a Hugging Face folder of any `AutoModelForCausalLM` or the name of one that
            comes in a package (`language_model.PACKAGED`); its tokenizer gets MIMO's tokens (`data.tokenizer`). None: random
            weights, and a tokenizer learned from the texts of the data set.
        vocabulary: the largest size of that learned tokenizer.
        dtype: of the weights of a frozen LLM; what is trained is float32.
    """

    architecture: dict[str, Any]
    vocabulary: int = 0
    source: str | None = None
    dtype: str = "float32"


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters of the LLM: with them the LLM's own weights are frozen, but for the new tokens' embeddings."""

    rank: int = 8
    alpha: int = 8
    target_modules: tuple[str, ...] = ("q_proj", "v_proj")


@dataclass(frozen=True)
class MaskDecoderConfig:
    """`multimask_outputs` is 3 in SAM; 0 leaves out the mask tokens that single-mask output never reads. `fine` are the
    channels of the fine branch (`mask_decoder.FineDecoder`) at strides 2 to 32; without them there is none, as published."""

    width: int
    layers: int
    heads: int
    mlp_width: int
    multimask_outputs: int = 0
    fine: tuple[int, ...] = ()


@dataclass(frozen=True)
class TrainingConfig:
    """What a preset is trained with unless the bundle is told otherwise; the defaults are MIMO's published ones.

    Attributes:
        learning_rate, encoder_learning_rate: of Adam; the latter for an image encoder that is not frozen.
        images_per_batch, questions_per_image, accumulation_steps: their product is the global batch in questions.
        phrase_weight, alignment_weight, presence_weight, naming_weight: of `losses.MimoLoss`.
        language_steps, language_batch, language_knowledge: of `engines.pretrain_text`, its first reading of the texts alone.
        balanced: draw images at random, each modality of each source as often as any other, instead of each question once.
        strong_augmentation: see `data.dataset.Augment`.
        answer_sentences: answers are learned up to so many sentences (`data.dataset.first_sentences`); 0 for all of them.
        perspective_shares: how often questions of perspectives I, II and so on are drawn relative to each other; where all are
            equal, each question is drawn as often, and else none of a perspective without a share.
    """

    learning_rate: float = 3e-4
    encoder_learning_rate: float = 3e-4
    images_per_batch: int = 10
    questions_per_image: int = 1
    accumulation_steps: int = 4
    phrase_weight: float = 1.0
    alignment_weight: float = 0.0
    presence_weight: float = 0.0
    naming_weight: float = 0.0
    language_steps: int = 0
    balanced: bool = False
    language_batch: int = 64
    language_knowledge: float = 0.0
    strong_augmentation: bool = False
    answer_sentences: int = 0
    perspective_shares: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class MimoConfig:
    """A whole model.

    Attributes:
        image_size: side in pixels of the square that images are resized and padded to.
        segmentation_encoder: the encoder whose features the mask decoder reads; none: those of `image_encoder`.
        lora: none trains the whole LLM.
        names: what was trained by name, name -> synonyms. Questions for other names are refused (`inference.name_guard`), and
            where the mask decoder has a fine branch, regions are called so (`region_names`). None leaves all names to the LLM.
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
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> MimoConfig:
        lora = values.get("lora")
        if lora is not None:
            lora = LoraConfig(
                **{**lora, "target_modules": tuple(lora.get("target_modules", LoraConfig.target_modules))}
            )
        training = values.get("training", {})
        return cls(
            preset=values["preset"],
            image_size=values["image_size"],
            image_encoder=_encoder(values["image_encoder"]),
            aligner=AlignerConfig(**values["aligner"]),
            language_model=LanguageModelConfig(**values["language_model"]),
            mask_decoder=MaskDecoderConfig(
                **{**values["mask_decoder"], "fine": tuple(values["mask_decoder"].get("fine", ()))}
            ),
            segmentation_encoder=_encoder(values["segmentation_encoder"])
            if values.get("segmentation_encoder")
            else None,
            lora=lora,
            training=TrainingConfig(
                **{**training, "perspective_shares": tuple(training.get("perspective_shares", (1.0,) * 4))}
            ),
            names={name: tuple(synonyms) for name, synonyms in values.get("names", {}).items()},
        )

    def to_dict(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        if not self.aligner.names:  # as versions before wrote it, so that their checkpoints go on
            del values["aligner"]["names"]
        return values


def _encoder(values: dict[str, Any]) -> ImageEncoderConfig:
    pixels: dict[str, Any] = {name: tuple(values[name]) for name in ("mean", "std") if name in values}
    return ImageEncoderConfig(**{**values, **pixels})
