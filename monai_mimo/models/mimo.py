"""MIMO: from an image, a question and visual prompts to text whose phrases are tied to masks.

The way of a click to its mask: `PromptEncoder` makes tokens of it; `InputAligner` mixes them with image and instruction;
the LLM reads the result and writes `<p> phrase </p> <SEG>`; its hidden state at `<SEG>`, and the click's tokens again, are
the prompts of `MaskDecoder`.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from ..data.conversation import ABSENT, IGNORE, PRESENT, Conversation, QuestionBatch
from ..data.feature_cache import EncoderMaps
from ..data.prompt_maps import BOX_BOTTOM_RIGHT, PADDING
from ..data.tokenizer import BOX, IMAGE, PHRASE_END, PHRASE_START, POINT, SEG
from .config import MimoConfig
from .generation import OnTokens
from .image_encoder import ImageFeatures, Neck, build_image_encoder, build_neck, extract_features
from .input_aligner import InputAligner, Presence
from .language_model import LanguageModel
from .mask_decoder import MaskDecoder
from .outputs import Answers, Prediction, Prompted
from .phrase_alignment import Alignment, align, pair, phrase_directions
from .pretrained import architecture
from .prompt_encoder import PromptEncoder
from .region_names import MARKED, SEEN, RegionNames, ShownNames
from .regions import RegionModel
from .sam import read_sam


class Mimo(RegionModel):
    """The whole model. Everything that tells one size from another is in `config`.

    Args:
        config: see `load_preset`.
        tokenizer: with MIMO's special tokens (`data.tokenizer`).
    """

    def __init__(self, config: MimoConfig, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self.config, self.tokenizer = config, tokenizer
        width = config.mask_decoder.width
        self.image_encoder = build_image_encoder(config.image_encoder)
        fine = config.mask_decoder.fine
        self.neck = build_neck(self.image_encoder, width, () if config.segmentation_encoder else fine)
        self.segmentation_encoder: nn.Module | None = None
        self.segmentation_neck: nn.Module | None = None
        if config.segmentation_encoder is not None:
            self.segmentation_encoder = build_image_encoder(config.segmentation_encoder)
            self.segmentation_neck = build_neck(self.segmentation_encoder, width, fine)
        fine_maps = isinstance(self.segmentation_neck or self.neck, Neck)
        self.prompt_encoder = PromptEncoder(width, config.image_size, fine_maps)
        self.language_model = LanguageModel(config.language_model, config.lora, tokenizer)
        if config.language_model.source is not None:
            sizes = architecture(self.language_model.causal_lm.config)
            self.config = replace(config, language_model=replace(config.language_model, architecture=sizes))
        self.input_aligner = InputAligner(config.aligner, width, self.language_model.width)
        named_regions = bool(config.names and fine)
        self.presence: Presence | None = None
        if config.aligner.presence:
            widths = config.aligner.width, width, self.language_model.width
            self.presence = Presence(*widths, classifies=not (named_regions and config.aligner.names))
        self.phrase_of_seg = nn.Linear(self.language_model.width, self.language_model.width)  # for the alignment loss
        self.mask_decoder = MaskDecoder(config.mask_decoder, self.language_model.width)
        self.region_names: RegionNames | None = None
        if named_regions:
            channels = (width, *((width // 4, width // 8) if fine_maps else ()), *fine[3:])
            self.region_names = RegionNames(tuple(config.names), width, channels)
            if config.aligner.names:
                self.shown_names = ShownNames(self.region_names.names, tokenizer, self.language_model.width)
            else:
                self.region_token = nn.Linear(width, width)  # tells the aligner what lies under a prompt
        self.image_id, self.point_id, self.box_id, self.seg_id = tokenizer.convert_tokens_to_ids(
            [IMAGE, POINT, BOX, SEG]
        )
        self.phrase_ids = tuple(tokenizer.convert_tokens_to_ids([PHRASE_START, PHRASE_END]))
        segmentation = config.segmentation_encoder
        if segmentation is not None and segmentation.name == "sam" and segmentation.source is not None:
            read_sam(segmentation.source).start(self.prompt_encoder, self.mask_decoder)

    def conversation(self) -> Conversation:
        """How questions for this model become tokens."""
        side = self.config.image_size if self.mask_decoder.fine is not None else 0
        names = () if self.region_names is None else self.region_names.names
        sizes = self.config.aligner.queries, self.language_model.context
        return Conversation(self.tokenizer, *sizes, names, side, regions_tell=self.config.aligner.names)

    def encode(self, images: Tensor) -> ImageFeatures:
        """images [B, 3, S, S] in 0..1 -> features, which depend on nothing else."""
        return self.features(self.encoder_maps(images))

    def encoder_maps(self, images: Tensor) -> EncoderMaps:
        """images [B, 3, S, S] in 0..1 -> what the encoders give of them; it never changes where they are frozen."""
        maps = EncoderMaps(extract_features(self.image_encoder, self.config.image_encoder, images), [])
        if self.segmentation_encoder is None or self.config.segmentation_encoder is None:
            return maps
        return maps._replace(
            segmentation=extract_features(self.segmentation_encoder, self.config.segmentation_encoder, images)
        )

    def features(self, maps: EncoderMaps) -> ImageFeatures:
        """The part of `encode` that is trained."""
        features = self.neck(maps.image)
        if self.segmentation_neck is None:
            return features
        return self.segmentation_neck(maps.segmentation)._replace(context=features.context)

    def forward(self, images: Tensor | EncoderMaps, questions: QuestionBatch) -> Prediction:
        """Read Q questions with their answers, about B images [B, 3, S, S], or what the encoders made of them."""
        features = self.features(images if isinstance(images, EncoderMaps) else self.encoder_maps(images))
        prompted = self.encode_prompts(features, questions)
        embeddings, prompt_tokens, presence = self.embed_inputs(prompted, questions)
        states = self.language_model.states(embeddings, questions.attention_mask)

        labelled = questions.labels[:, 1:] != IGNORE
        text_logits = self.language_model.logits(states[:, :-1][labelled])
        question, position = torch.nonzero(questions.labels == self.seg_id, as_tuple=True)
        mask_logits, scores = self.decode_masks(features, prompted, questions, question, states[question, position])
        alignment = self.align(questions, states, prompt_tokens)
        naming = None
        if self.region_names is not None:
            known = questions.seg_names >= 0
            meant = self.mask_decoder.text_projection(states[question, position][known])
            naming = self.region_names.distance(meant, questions.seg_names[known])
        return Prediction(text_logits, mask_logits, scores, alignment, presence, naming)

    def align(self, questions: QuestionBatch, states: Tensor, prompt_tokens: Tensor | None = None) -> Alignment:
        """Compare `<SEG>` states, among states [Q, T, H], and, where an image was read, prompt tokens [Q, P, H] with the
        phrases they stand for."""
        words = self.language_model.causal_lm.get_input_embeddings().weight
        phrases = phrase_directions(questions.labels, words, self.phrase_ids)
        counts = (questions.labels == self.phrase_ids[0]).sum(1)
        is_seg = questions.labels == self.seg_id
        paired, own = pair(is_seg, is_seg, counts)
        tokens = self.phrase_of_seg(states[paired])
        if prompt_tokens is not None:
            kinds = questions.prompt_labels
            paired, pointed = pair(kinds != PADDING, (kinds != PADDING) & (kinds != BOX_BOTTOM_RIGHT), counts)
            tokens, own = torch.cat([tokens, prompt_tokens[paired]]), torch.cat([own, pointed])
        return align(tokens, own, phrases)

    @torch.no_grad()
    def answer(
        self,
        features: ImageFeatures,
        questions: QuestionBatch,
        max_tokens: int = 64,
        *,
        whole_phrases: bool = True,
        on_tokens: OnTokens | None = None,
    ) -> Answers:
        """Answer Q questions, collated with `generate=True`, about images whose features are known.

        Args:
            max_tokens: the longest answer; a phrase that is open when it comes near is closed and gets its mask.
            whole_phrases: allow only answers in which every phrase is closed and has one mask (`generation.PhraseGrammar`).
            on_tokens: is given the next token [Q] of each question as soon as it is there.
        """
        prompted = self.encode_prompts(features, questions)
        embeddings, _, _ = self.embed_inputs(prompted, questions)
        written = self.language_model.generate(
            embeddings, questions.attention_mask, max_tokens, whole_phrases=whole_phrases, on_tokens=on_tokens
        )
        places = torch.nonzero(written.ids == self.seg_id)
        question, position = places.unbind(1)
        states = written.states[question, position]
        if len(states) == 0:  # the decoder takes time even for nothing
            height, width = prompted.feature_map.shape[2:]
            mask_logits, scores = states.new_zeros(0, 4 * height, 4 * width), states.new_zeros(0)
        else:
            mask_logits, scores = self.decode_masks(features, prompted, questions, question, states)
        conditions = self.mask_decoder.text_projection(states)
        return Answers(written.ids, written.probabilities, mask_logits, scores, places, conditions)

    def encode_prompts(self, features: ImageFeatures, questions: QuestionBatch) -> Prompted:
        """Encode the prompts: as tokens, as what lies under them, and as a map that is added to the features."""
        selected, where = features.select(questions.image_index), (questions.coordinates, questions.prompt_labels)
        prompts = self.prompt_encoder(*where)
        seen = prompts + self.prompt_encoder.pool_features(*where, (selected.context, *selected.high_resolution))
        maps, names, chances = None, None, None
        if self.mask_decoder.fine is not None:
            maps = questions.union_of_maps(self.config.image_size // 2)
            if self.region_names is not None and len(questions.prompt_maps):
                known = questions.shown_names  # as given in training
                if (known < 0).any() or not self.config.aligner.names:
                    described = self.describe(features, questions)
                    chances = self.by_clicks(features, questions, self.region_names.logits(described).softmax(1))
                    known = torch.where(known < 0, self.region_names.tell(chances), known)
                if self.config.aligner.names:
                    names = torch.cat([known, known.new_full((1,), -1)])[questions.prompt_object]  # -1 is the last
                else:
                    described = self.region_token(described)
                    padded = torch.cat([described, described.new_zeros(1, described.shape[1])])
                    seen = seen + padded[questions.prompt_object]
        told = self.presence is not None and self.presence.classify is None
        presence = self.told_presence(features, questions, chances) if told else None
        context, feature_map = selected.context, selected.feature_map
        context = context + self.prompt_encoder.dense_embeddings(*where, context.shape[2:])
        if features.one_encoder:
            return Prompted(prompts, seen, context, context, maps, names, presence)
        feature_map = feature_map + self.prompt_encoder.dense_embeddings(*where, feature_map.shape[2:])
        return Prompted(prompts, seen, context, feature_map, maps, names, presence)

    @torch.no_grad()
    def told_presence(self, features: ImageFeatures, questions: QuestionBatch, shown: Tensor | None) -> Tensor:
        """What the LLM is told of each word of the questions: as given in training; else whether what is outlined by the name
        that it is part of, or shown by the prompts, looks like it: [Q, I] of `PRESENCE`.

        Args:
            shown: the chances of each name [K, N + 1] for what the prompts of each object show.
        """
        presence = questions.presence
        question, word = torch.nonzero(questions.asked >= 0, as_tuple=True)
        if self.training or len(question) == 0:
            return presence
        assert self.region_names is not None
        asked, which = torch.stack([question, questions.asked[question, word]], dim=1).unique(
            dim=0, return_inverse=True
        )
        of, name = asked.unbind(1)
        there = torch.zeros_like(of, dtype=torch.bool)
        prompted = there
        if shown is not None:  # what the prompts of a question show tells of all of its names
            own = questions.map_question == of[:, None]
            prompted = own.any(1)
            there = torch.where(own, shown[:, name].T, 0).amax(1) > MARKED
        alone = torch.nonzero(~prompted)[:, 0]
        if len(alone):
            image, wanted = questions.image_index[of[alone]], name[alone]
            logits, _, alike = self.look_for(features, image, wanted)
            there[alone] = (alike > SEEN) & (logits > 0).flatten(1).any(1)
        presence = presence.clone()
        presence[question, word] = torch.where(there, PRESENT, ABSENT)[which]
        return presence

    def embed_inputs(self, prompted: Prompted, questions: QuestionBatch) -> tuple[Tensor, Tensor, Tensor | None]:
        """The LLM's input [Q, T, H]: embeddings of the words, with the aligner's tokens at the placeholders; and of the
        aligner the prompt tokens [Q, P, H] and the presence logits of the words [Q, I, 3]."""
        image_tokens, prompt_tokens, word_tokens = self.input_aligner(
            prompted.context,
            self.prompt_encoder.get_dense_pe(prompted.context.shape[2:]),
            prompted.seen,
            questions.prompt_labels == PADDING,
            self.language_model.embed(questions.instruction_ids),
            questions.instruction_padding,
        )
        presence = None
        if self.presence is not None:
            presence = self.presence(word_tokens, prompted.context)
            told = prompted.presence
            if presence is not None:
                told = questions.presence if self.training else presence.argmax(-1)
            assert told is not None
            embeddings = self.embed_words(questions, self.presence.embed(told))
        else:
            embeddings = self.language_model.embed(questions.input_ids)
        ids = questions.input_ids
        at_image = (ids == self.image_id).unsqueeze(-1)
        at_prompt = ((ids == self.point_id) | (ids == self.box_id)).unsqueeze(-1)
        embeddings = embeddings.masked_scatter(at_image, image_tokens.to(embeddings.dtype))
        is_prompt = questions.prompt_labels != PADDING
        given = prompt_tokens[is_prompt]
        if prompted.names is not None:
            given = given + self.shown_names(prompted.names[is_prompt], self.language_model.embed)
        return embeddings.masked_scatter(at_prompt, given.to(embeddings.dtype)), prompt_tokens, presence

    def embed_words(self, questions: QuestionBatch, told: Tensor) -> Tensor:
        """Word embeddings of sequences [Q, T, H], with what is told of the words of the questions [Q, I, H] added to them."""
        embeddings = self.language_model.embed(questions.input_ids)
        told = told[~questions.instruction_padding].to(embeddings.dtype)
        return embeddings + torch.zeros_like(embeddings).masked_scatter(questions.is_instruction.unsqueeze(-1), told)

    def decode_masks(
        self, features: ImageFeatures, prompted: Prompted, questions: QuestionBatch, question: Tensor, states: Tensor
    ) -> tuple[Tensor, Tensor]:
        """All masks of a batch at once: mask m belongs to question `question[m]` and is driven by `states[m]`."""
        return self.mask_decoder(
            prompted.feature_map.index_select(0, question),
            self.prompt_encoder.get_dense_pe(prompted.feature_map.shape[2:]),
            features.high_resolution,
            questions.image_index[question],
            self.mask_decoder.text_projection(states),
            prompted.prompts[question],
            questions.prompt_labels[question] == PADDING,
            features.fine,
            None if prompted.maps is None else prompted.maps[question],
        )
