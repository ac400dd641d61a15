"""The language model: any causal LM of `transformers`, with LoRA by `peft` when asked for."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, CompileConfig, PreTrainedModel, PreTrainedTokenizerBase

from ..data.tokenizer import SPECIAL_TOKENS
from .config import LanguageModelConfig, LoraConfig
from .generation import Generated, OnTokens, PhraseGrammar, generate
from .pretrained import language_model_folder, load_language_model


class LanguageModel(nn.Module):
    """An LLM of H channels that reads at most `context` tokens.

    Args:
        config: its sizes, or where it comes from.
        lora: adapters; then the LLM is frozen but for them and the embeddings of MIMO's special tokens.
        tokenizer: whose vocabulary the embeddings cover.
    """

    def __init__(
        self, config: LanguageModelConfig, lora: LoraConfig | None, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.compile_config: CompileConfig | None = None  # set it to write answers by `torch.compile`
        model = make_causal_lm(config, tokenizer)
        self.width: int = model.config.hidden_size
        self.context: int = model.config.max_position_embeddings
        self.model = model if lora is None else add_lora(model, lora, tokenizer)

    @property
    def causal_lm(self) -> PreTrainedModel:
        """The `transformers` model, LoRA layers included."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    def embed(self, ids: Tensor) -> Tensor:
        """ids [Q, T] -> embeddings [Q, T, H], float32 whatever the LLM's own type is, like all that goes in and out here."""
        return self.causal_lm.get_input_embeddings()(ids).float()

    def states(self, embeddings: Tensor, attention_mask: Tensor) -> Tensor:
        """embeddings [Q, T, H] -> last hidden states [Q, T, H]; no logits are made of them."""
        decoder, dtype = self.causal_lm.base_model, self.causal_lm.dtype
        out = decoder(inputs_embeds=embeddings.to(dtype), attention_mask=attention_mask, use_cache=False)
        return out.last_hidden_state.float()

    def logits(self, states: Tensor) -> Tensor:
        """states [n, H] -> logits [n, V]."""
        return self.causal_lm.get_output_embeddings()(states.to(self.causal_lm.dtype)).float()

    @cached_property
    def grammar(self) -> PhraseGrammar:
        """What an answer may be."""
        return PhraseGrammar(self.tokenizer, self.causal_lm.config.vocab_size)

    def generate(
        self,
        embeddings: Tensor,
        attention_mask: Tensor,
        max_tokens: int,
        *,
        whole_phrases: bool = True,
        on_tokens: OnTokens | None = None,
    ) -> Generated:
        """Write greedily after embeddings [Q, T, H], padded at the left; see `generation.generate`. With `whole_phrases` every
        phrase that is opened is closed and gets its `<SEG>`."""
        written = generate(
            self.causal_lm,
            self.tokenizer,
            embeddings.to(self.causal_lm.dtype),
            attention_mask,
            max_tokens,
            grammar=self.grammar.limited(max_tokens) if whole_phrases else None,
            on_tokens=on_tokens,
            compiled=self.compile_config,
        )
        return written._replace(states=written.states.float())


def make_causal_lm(config: LanguageModelConfig, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """The model at `config.source`, or one of `config.architecture` with random weights; either with an embedding for every
    token of `tokenizer`. A new token of a pretrained model starts as the mean of those that it has.

    Raises:
        WeightsError: the source cannot be read.
    """
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    if config.source is None:
        architecture = {"model_type": "llama", **config.architecture}
        size = max(len(tokenizer), architecture.pop("vocab_size", 0))
        sizes = AutoConfig.for_model(**architecture, vocab_size=size, **ids)
        return AutoModelForCausalLM.from_config(sizes, dtype=getattr(torch, config.dtype))
    model = load_language_model(language_model_folder(config.source), getattr(torch, config.dtype))
    known = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > known:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        with torch.no_grad():
            for embeddings in (model.get_input_embeddings(), model.get_output_embeddings()):
                embeddings.weight[known:] = embeddings.weight[:known].mean(dim=0)
    model.config.update(ids)
    return model


def add_lora(model: PreTrainedModel, lora: LoraConfig, tokenizer: PreTrainedTokenizerBase) -> nn.Module:
    """Wrap `model` by `peft`: adapters, and trainable rows for MIMO's special tokens alone, in the embedding and, where it is
    not the same matrix, in the output layer."""
    from peft import LoraConfig as PeftLoraConfig  # slow to import, and many weights have no adapter
    from peft import get_peft_model

    layers = {id(layer): name for name, layer in model.named_modules()}
    rows = [layers[id(layer)] for layer in (model.get_input_embeddings(), model.get_output_embeddings())]
    if model.config.tie_word_embeddings:
        rows = rows[:1]  # peft follows the tie
    tokens = tokenizer.convert_tokens_to_ids(SPECIAL_TOKENS)
    config = PeftLoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=list(lora.target_modules),
        trainable_token_indices=dict.fromkeys(rows, tokens),
    )
    return get_peft_model(model, config)
