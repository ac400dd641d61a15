"""The language model: a `transformers` causal LM, with LoRA by `peft` when asked for."""

from __future__ import annotations

from functools import cached_property

from peft import LoraConfig as PeftLoraConfig
from peft import get_peft_model
from torch import Tensor, nn
from transformers import CompileConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from ..data.tokenizer import SPECIAL_TOKENS
from .config import LanguageModelConfig, LoraConfig
from .generation import Generated, OnTokens, PhraseGrammar, write


class LanguageModel(nn.Module):
    """A Llama-family LLM of H channels.

    Args:
        config: its sizes.
        lora: adapters; then the LLM is frozen but for them and the embeddings of MIMO's special tokens.
        tokenizer: whose vocabulary the embeddings cover.
    """

    def __init__(
        self, config: LanguageModelConfig, lora: LoraConfig | None, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.compile_config: CompileConfig | None = None  # set it to write answers by `torch.compile`
        model = LlamaForCausalLM(
            LlamaConfig(
                **config.architecture,
                vocab_size=len(tokenizer),
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        self.width = model.config.hidden_size
        self.model = model if lora is None else add_lora(model, lora, tokenizer)

    @property
    def causal_lm(self) -> LlamaForCausalLM:
        """The `transformers` model, LoRA layers included."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    def embed(self, ids: Tensor) -> Tensor:
        """ids [Q, T] -> embeddings [Q, T, H]."""
        return self.causal_lm.get_input_embeddings()(ids)

    def states(self, embeddings: Tensor, attention_mask: Tensor) -> Tensor:
        """embeddings [Q, T, H] -> last hidden states [Q, T, H]; no logits are made of them."""
        return self.causal_lm.model(inputs_embeds=embeddings, attention_mask=attention_mask).last_hidden_state

    def logits(self, states: Tensor) -> Tensor:
        """states [n, H] -> logits [n, V]."""
        return self.causal_lm.get_output_embeddings()(states)

    @cached_property
    def grammar(self) -> PhraseGrammar:
        """What an answer may be."""
        return PhraseGrammar(self.tokenizer, self.causal_lm.get_output_embeddings().weight.shape[0])

    def generate(
        self,
        embeddings: Tensor,
        attention_mask: Tensor,
        max_tokens: int,
        *,
        whole_phrases: bool = True,
        on_tokens: OnTokens | None = None,
    ) -> Generated:
        """Write greedily after embeddings [Q, T, H], padded at the left; see `generation.write`. With `whole_phrases` every
        phrase that is opened is closed and gets its `<SEG>`."""
        return write(
            self.causal_lm,
            self.tokenizer,
            embeddings,
            attention_mask,
            max_tokens,
            grammar=self.grammar.limited(max_tokens) if whole_phrases else None,
            on_tokens=on_tokens,
            compiled=self.compile_config,
        )


def add_lora(model: LlamaForCausalLM, lora: LoraConfig, tokenizer: PreTrainedTokenizerBase) -> nn.Module:
    """Wrap `model` by `peft`: adapters, and trainable embedding rows for MIMO's special tokens alone."""
    config = PeftLoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=list(lora.target_modules),
        trainable_token_indices=tokenizer.convert_tokens_to_ids(SPECIAL_TOKENS),
    )
    return get_peft_model(model, config)
