"""Does the token of a prompt say what it points at? Pairs of prompt tokens and phrases, for a contrastive loss."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from ..data.prompts import BOX_BOTTOM_RIGHT, PADDING

SCALE = 20.0  # of cosines, so that a right phrase can get nearly all of the softmax
SAME = 0.999  # phrases whose embeddings are that close are one


class Alignment(NamedTuple):
    """logits [K, P] between K prompt tokens and P phrases of a batch; targets [K, P], true where the token means it."""

    logits: Tensor
    targets: Tensor


def align_prompts(
    prompt_tokens: Tensor, prompt_labels: Tensor, labels: Tensor, embeddings: Tensor, phrase_ids: tuple[int, int]
) -> Alignment:
    """Compare prompt tokens, as the LLM reads them, with the mean word embedding of each phrase of the batch.

    The k-th prompt of a question means the k-th phrase of its answer; questions with other numbers of both are left out.

    Args:
        prompt_tokens: [Q, N, H], `prompt_labels` [Q, N].
        labels: [Q, T], tokens of the answers; `embeddings`: [V, H], of the words, taken as they are.
        phrase_ids: tokens that start and end a phrase.
    """
    starts, ends = (labels == token for token in phrase_ids)
    inside = (starts.cumsum(1) > ends.cumsum(1)) & ~starts
    number = (starts.flatten().cumsum(0) - 1)[inside.flatten()]  # which phrase of the batch each word is of
    words = embeddings.detach()[labels[inside]]
    phrases = words.new_zeros(int(starts.sum()), words.shape[1]).index_add(0, number, words)
    phrases = F.normalize(phrases, dim=1)  # the sum has the direction of the mean

    is_token = prompt_labels != PADDING
    is_first = is_token & (prompt_labels != BOX_BOTTOM_RIGHT)
    count = starts.sum(1)
    own = (count.cumsum(0) - count)[:, None] + is_first.cumsum(1) - 1
    paired = is_token & (is_first.sum(1) == count)[:, None]
    tokens = F.normalize(prompt_tokens[paired], dim=1)
    same = phrases @ phrases.T > SAME
    return Alignment(SCALE * tokens @ phrases.T, same[own[paired]])
