"""Writing answers token by token: a grammar that keeps phrases whole, and what is noted of each token as it is written."""

from __future__ import annotations

import copy
from collections.abc import Callable
from threading import get_ident
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import (
    CompileConfig,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.generation.streamers import BaseStreamer

from ..data.tokenizer import PHRASE_END, PHRASE_START, SEG

CACHE_STEP = 256  # tokens; the size of a compiled model's cache is a multiple of it
OnTokens = Callable[[Tensor], None]  # is given the next token [Q] of each question; what it raises ends the writing


class Generated(NamedTuple):
    """L tokens written for each of Q questions; after the end token come padding tokens.

    Attributes:
        ids: [Q, L]; probabilities: [Q, L], what the model gave each token, whatever the grammar left it to choose from.
        states: [Q, L, H], the last hidden state at each token; zero at a last one that is no `<SEG>`, since no token follows it.
    """

    ids: Tensor
    probabilities: Tensor
    states: Tensor


class PhraseGrammar(LogitsProcessor):
    """Allows only answers in which every `<p>` has words, then one `</p>`, then one `<SEG>`.

    With `max_tokens` a phrase is closed while there is still room for it, and none is opened where there is none. Other
    special tokens but the end, and numbers that are no token, are never written.

    Args:
        tokenizer: with MIMO's special tokens.
        vocabulary: how many logits the model makes, V; some have more than their tokenizer has tokens.
        max_tokens: the longest answer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocabulary: int, max_tokens: int = 2**31) -> None:
        self.start, self.close, self.seg = tokenizer.convert_tokens_to_ids([PHRASE_START, PHRASE_END, SEG])
        self.max_tokens = max_tokens
        word = _words(tokenizer, vocabulary)
        self.words = frozenset(word.nonzero()[:, 0].tolist())
        never = torch.ones(vocabulary, dtype=torch.bool)
        never[: len(tokenizer)] = False
        never[list(tokenizer.all_special_ids)] = True
        # A row for each of the states below, true where a token is forbidden.
        outside, last, empty, phrase = (never.clone() for _ in range(4))
        outside[[self.start, tokenizer.eos_token_id]] = False
        last[tokenizer.eos_token_id] = False
        phrase[self.close] = False
        only = torch.ones(3, vocabulary, dtype=torch.bool)
        only[0] = ~word
        only[1, self.close] = only[2, self.seg] = False
        self.forbidden = torch.cat([torch.stack([outside, last, empty, phrase]), only])

    def limited(self, max_tokens: int) -> PhraseGrammar:
        """The same grammar for answers of another length; the tokenizer is not read again."""
        other = copy.copy(self)
        other.max_tokens = max_tokens
        return other

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """ids [Q, L] written so far and logits [Q, V] of the next token -> those logits, minus infinity where not allowed."""
        if self.forbidden.device != scores.device:
            self.forbidden = self.forbidden.to(scores.device)
        states = [self.state(ids) for ids in input_ids.tolist()]
        return scores.masked_fill(self.forbidden[states], -torch.inf)

    def state(self, ids: list[int]) -> int:
        """What may follow what was written."""
        left = self.max_tokens - len(ids)
        if ids and ids[-1] == self.close:
            return ONLY_SEG
        for n in range(len(ids) - 1, -1, -1):
            if ids[n] == self.start:  # with no end after it
                has_words = any(token in self.words for token in ids[n + 1 :])
                if left <= 2:
                    return ONLY_CLOSE
                if has_words:
                    return PHRASE
                return ONLY_WORD if left == 3 else EMPTY_PHRASE
            if ids[n] == self.close:
                break
        return OUTSIDE if left >= 4 else LAST_OUTSIDE  # <p>, a word, </p> and <SEG>


# Outside of phrases; there with no room for one; in one without words, in one with words; what alone may come.
OUTSIDE, LAST_OUTSIDE, EMPTY_PHRASE, PHRASE, ONLY_WORD, ONLY_CLOSE, ONLY_SEG = range(7)


def _words(tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> Tensor:
    """Which of V tokens show something: [V]; not the special ones, nor those of white space alone."""
    texts = tokenizer.batch_decode([[n] for n in range(len(tokenizer))])
    shown = torch.zeros(vocabulary, dtype=torch.bool)
    shown[: len(texts)] = torch.tensor([bool(text.strip()) for text in texts])
    shown[list(tokenizer.all_special_ids)] = False
    return shown


class _Notes(LogitsProcessor):
    """Notes the probability of each token that is about to be chosen greedily, by the model's own logits. `transformers`
    would keep the logits [Q, V] of every token for that."""

    def __init__(self, grammar: LogitsProcessor | None) -> None:
        self.grammar = grammar
        self.probabilities: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        allowed = scores if self.grammar is None else self.grammar(input_ids, scores)
        chosen = scores.gather(1, allowed.argmax(1, keepdim=True))[:, 0]
        self.probabilities.append((chosen - scores.logsumexp(1)).exp())
        return allowed


class _Enough(StoppingCriteria):
    """Stops at `max_tokens`, or one token later where an answer's last is `<SEG>`, whose state is there once the token after
    it is asked for."""

    def __init__(self, max_tokens: int, seg: int) -> None:
        self.max_tokens, self.seg = max_tokens, seg

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: object) -> Tensor:
        enough = input_ids.shape[1] >= self.max_tokens and not bool((input_ids[:, -1] == self.seg).any())
        return torch.full((len(input_ids),), enough, device=input_ids.device)


class _Streamer(BaseStreamer):
    """Hands on the tokens that `transformers` puts, but for the prompt, which it puts first, and what is past `max_tokens`."""

    def __init__(self, on_tokens: OnTokens, max_tokens: int) -> None:
        self.on_tokens, self.max_tokens, self.puts = on_tokens, max_tokens, 0

    def put(self, value: Tensor) -> None:
        if 0 < self.puts <= self.max_tokens:
            self.on_tokens(value)
        self.puts += 1

    def end(self) -> None:
        pass


@torch.no_grad()
def generate(
    causal_lm: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    embeddings: Tensor,
    attention_mask: Tensor,
    max_tokens: int,
    *,
    grammar: LogitsProcessor | None = None,
    on_tokens: OnTokens | None = None,
    compiled: CompileConfig | None = None,
) -> Generated:
    """Write greedily after embeddings [Q, T, H], padded at the left, with the key-value cache.

    The hidden states are taken as they reach the output embeddings, so that those of `<SEG>` need no second pass.

    Args:
        grammar: what may be written, such as `PhraseGrammar`; none: anything.
        on_tokens: is called with each column of the answers [Q] as soon as it is there.
        compiled: decode by `torch.compile` with a key-value cache of fixed size; the first answer takes long.
    """
    notes = _Notes(grammar)
    states: list[Tensor] = []

    thread = get_ident()

    def note(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if compiled is not None or get_ident() == thread:  # another one may write by the same model at the same time
            states.append(arguments[0][:, -1].clone())  # a compiled model writes the next one over it

    hook = causal_lm.get_output_embeddings().register_forward_pre_hook(note)
    fixed = {}
    if compiled is not None:  # one size of cache for many questions, or each would be compiled anew
        longest = embeddings.shape[1] + max_tokens + 1
        fixed = {
            "cache_implementation": "static",
            "compile_config": compiled,
            "max_cache_len": -(-longest // CACHE_STEP) * CACHE_STEP,
        }
    try:
        ids = causal_lm.generate(
            inputs_embeds=embeddings,
            attention_mask=attention_mask,
            logits_processor=LogitsProcessorList([notes]),
            stopping_criteria=StoppingCriteriaList([_Enough(max_tokens, tokenizer.convert_tokens_to_ids(SEG))]),
            generation_config=GenerationConfig(
                max_new_tokens=max_tokens + 1,  # see _Enough
                do_sample=False,
                repetition_penalty=1.0,  # whatever the checkpoint's own generation_config.json says
                use_cache=True,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                **fixed,
            ),
            streamer=None if on_tokens is None else _Streamer(on_tokens, max_tokens),
            synced_gpus=False,  # of a sharded model too: while it answers it is whole (`engines.WholeWeights`)
        )
    finally:
        hook.remove()
    # The first state read the question.
    read = [*states[1:], torch.zeros_like(states[0])]
    length = min(ids.shape[1], max_tokens)
    return Generated(
        ids[:, :length], torch.stack(notes.probabilities, 1)[:, :length], torch.stack(read, 1)[:, :length].float()
    )
