"""Which words of an instruction name what is in the image, and which name what is not there: said to the LLM word by word."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.conversation import PRESENCE


class Presence(nn.Module):
    """Classifies the aligner's word tokens by `PRESENCE`, and turns what it finds into an embedding that is added to the
    LLM's embedding of the word.

    An LLM that can reason reads from the image tokens whether what it is asked for is there. One of a few layers cannot
    hold the words of the question against the image; the aligner sees both.

    Args:
        width: channels of the aligner; image_width: channels D of the image features; text_width: channels H of the LLM.
    """

    def __init__(self, width: int, image_width: int, text_width: int) -> None:
        super().__init__()
        self.classify = nn.Sequential(
            nn.Linear(width + image_width, 2 * width), nn.GELU(), nn.Linear(2 * width, len(PRESENCE))
        )
        self.embedding = nn.Embedding(len(PRESENCE), text_width)
        nn.init.normal_(self.embedding.weight, std=text_width**-0.5)  # as long as a word

    def forward(self, words: Tensor, image: Tensor) -> Tensor:
        """words [Q, I, width] and image features [Q, D, h, w] -> logits [Q, I, 3]. What the words found in the image by
        attention is in them; the mean of the image says what kind of image it is."""
        kind = image.mean(dim=(2, 3)).unsqueeze(1).expand(-1, words.shape[1], -1)
        return self.classify(torch.cat([words, kind], dim=2))

    def embed(self, presence: Tensor) -> Tensor:
        """What to add to each word's embedding [..., H] for its presence [...]; nothing to a word that names nothing, and to
        padding. In training it is the true presence, so that the LLM learns to believe it."""
        return F.embedding(presence.clamp(min=0), self.embedding.weight) * (presence > 0).unsqueeze(-1)
