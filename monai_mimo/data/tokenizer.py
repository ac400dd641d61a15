"""The tokens that MIMO adds to a language model, and a small tokenizer for models that bring none of their own."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

IMAGE, POINT, BOX = "<image>", "<point>", "<box>"  # placeholders: their embeddings are replaced by the aligner's
PHRASE_START, PHRASE_END, SEG = "<p>", "</p>", "<SEG>"
SPECIAL_TOKENS = [IMAGE, POINT, BOX, PHRASE_START, PHRASE_END, SEG]
BOS, EOS, PAD = "<s>", "</s>", "<pad>"


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer (every text can be encoded) on the questions and answers of a data set.

    Args:
        texts: in a fixed order; the same texts give the same tokenizer.
        vocabulary: its largest size, special tokens included.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, BOS, EOS, *_added_tokens()],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD)
    return add_special_tokens(fast)


def placeholder_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """A tokenizer of `vocabulary` meaningless words and MIMO's tokens, to build a model by its sizes alone."""
    words = {word: number for number, word in enumerate([PAD, BOS, EOS, *(f"word{n}" for n in range(vocabulary - 3))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=PAD))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD)
    return add_special_tokens(fast)


def add_special_tokens(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Add MIMO's tokens to a language model's own tokenizer; those that it has already stay as they are."""
    tokenizer.add_special_tokens({"additional_special_tokens": _added_tokens()})
    return tokenizer


def _added_tokens() -> list[AddedToken]:
    """The space before a special token belongs to it; otherwise it would be a token of its own."""
    return [AddedToken(token, lstrip=True, special=True, normalized=False) for token in SPECIAL_TOKENS]
