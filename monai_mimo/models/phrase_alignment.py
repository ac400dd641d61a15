"""Does a token say which phrase it stands for? Pairs of tokens and phrases, for a contrastive loss.

Two kinds of tokens do: that of a prompt, which says what lies under it, and `<SEG>`, which says what its mask shows.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

SCALE = 20.0  # of cosines, so that a right phrase can get nearly all of the softmax
SAME = 0.999  # phrases whose embeddings are that close are one


class Alignment(NamedTuple):
    """logits [K, P] between K tokens and P phrases of a batch; targets [K, P], true where the token stands for it."""

    logits: Tensor
    targets: Tensor


def align(tokens: Tensor, own: Tensor, phrases: Tensor) -> Alignment:
    """Compare tokens [K, H] with the directions of phrases [P, H]; `own` [K] is the phrase that each stands for."""
    with torch.autocast(phrases.device.type, enabled=False):  # in bfloat16 a phrase is not even the SAME as itself
        same = phrases @ phrases.T > SAME
        return Alignment(SCALE * F.normalize(tokens.float(), dim=1) @ phrases.T, same[own])


def inside_phrases(labels: Tensor, phrase_ids: tuple[int, int]) -> Tensor:
    """[Q, T], true for words between the tokens that start and end a phrase."""
    starts, ends = (labels == token for token in phrase_ids)
    return (starts.cumsum(1) > ends.cumsum(1)) & ~starts


def phrase_directions(labels: Tensor, embeddings: Tensor, phrase_ids: tuple[int, int]) -> Tensor:
    """The direction [P, H] of the mean word embedding of each phrase of a batch, in order.

    Args:
        labels: [Q, T], tokens of the answers; `embeddings`: [V, H], of the words, taken as they are.
        phrase_ids: tokens that start and end a phrase.
    """
    starts, inside = labels == phrase_ids[0], inside_phrases(labels, phrase_ids)
    number = (starts.flatten().cumsum(0) - 1)[inside.flatten()]  # which phrase of the batch each word is of
    words = embeddings.detach()[labels[inside]].float()
    sums = words.new_zeros(int(starts.sum()), words.shape[1]).index_add(0, number, words)
    return F.normalize(sums, dim=1)


def pair(is_token: Tensor, is_first: Tensor, phrase_counts: Tensor) -> tuple[Tensor, Tensor]:
    """Which tokens stand for a phrase, [Q, N] bool, and for each of those K which phrase of the batch, [K].

    The k-th thing of a question stands for the k-th phrase of its answer; where their numbers differ, none does.

    Args:
        is_token: [Q, N]; is_first: [Q, N], true at the first token of each thing (a box has two).
        phrase_counts: [Q], of the answers.
    """
    own = (phrase_counts.cumsum(0) - phrase_counts)[:, None] + is_first.cumsum(1) - 1
    paired = is_token & (is_first.sum(1) == phrase_counts)[:, None]
    return paired, own[paired]
