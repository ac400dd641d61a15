"""The training loss: text cross-entropy, mask BCE and Dice with the weights of LISA and GLaMM, and SAM's score loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional as F

from .data.collate import IGNORE
from .data.conversation import PRESENCE
from .models.mimo import Prediction
from .models.phrase_alignment import inside_phrases


@dataclass
class Targets:
    """labels [Q, T] and presence [Q, I] as in `QuestionBatch`; masks bool [M, S, S], one for each `<SEG>` in order."""

    labels: Tensor
    masks: Tensor
    presence: Tensor | None = None


class MimoLoss(nn.Module):
    """Weighted sum of the parts; `parts` holds their last values, unweighted, for the log.

    Args:
        text, bce, dice: weights as published for LISA (Lai et al. 2024) and GLaMM (Rasheed et al. 2024).
        phrase: weight of a token between `<p>` and `</p>` relative to other tokens of an answer. Which of many wordings
            was drawn is noise to the model, which phrase stands in it is not; 1 is the published loss.
        alignment: weight of the contrastive loss between tokens and the phrases they stand for (`models.phrase_alignment`), akin
            to that of BLIP-2's first stage (Li et al. 2023); 0 is the published loss.
        presence: weight of the cross-entropy of the words of the questions (`models.presence`); 0 is the published loss.
        phrase_tokens: the ids of `<p>` and `</p>`.
        score: weight of the squared error of a mask's predicted IoU, as SAM trains it (Kirillov et al. 2023).
    """

    def __init__(
        self,
        text: float = 1.0,
        bce: float = 2.0,
        dice: float = 0.5,
        score: float = 1.0,
        phrase: float = 1.0,
        alignment: float = 0.0,
        presence: float = 0.0,
        phrase_tokens: tuple[int, int] = (-1, -1),
    ) -> None:
        super().__init__()
        self.phrase, self.phrase_tokens = phrase, phrase_tokens
        self.weights = {
            "text": text,
            "bce": bce,
            "dice": dice,
            "score": score,
            "alignment": alignment,
            "presence": presence,
        }
        self.dice = DiceLoss(sigmoid=True)
        self.parts: dict[str, float] = {}

    def forward(self, prediction: Prediction, targets: Targets) -> Tensor:
        """The loss of a batch; its mask parts are zero for a batch without masks."""
        parts = {"text": self._text(prediction.text_logits.float(), targets.labels)}
        if len(targets.masks):
            masks = targets.masks[:, None].float()
            logits = prediction.mask_logits[:, None].float()
            logits = F.interpolate(logits, masks.shape[-2:], mode="bilinear")
            parts["bce"] = F.binary_cross_entropy_with_logits(logits, masks)
            parts["dice"] = self.dice(logits, masks)
            parts["score"] = F.mse_loss(prediction.scores.float(), _iou(logits.detach() > 0, targets.masks[:, None]))
        else:  # keep the mask decoder in the graph, so that every process of a distributed run reduces its gradient
            parts["bce"] = prediction.mask_logits.sum() + prediction.scores.sum()
        if prediction.alignment is not None and len(prediction.alignment.logits):
            parts["alignment"] = _contrastive(*prediction.alignment)
        if prediction.presence_logits is not None and targets.presence is not None:
            parts["presence"] = _balanced(prediction.presence_logits.float(), targets.presence)
        self.parts = {name: value.detach().item() for name, value in parts.items()}
        return torch.stack([self.weights[name] * value for name, value in parts.items()]).sum()

    def _text(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of logits [L, V], those at the labels of columns 1 and on that are not ignored: the weighted mean
        over the tokens of each answer, and the mean over answers, so that a short refusal counts as much as a long list."""
        answered = labels[:, 1:] != IGNORE
        inside = inside_phrases(labels, self.phrase_tokens)[:, 1:]
        weights = torch.where(inside, self.phrase, 1.0) * answered
        weights = weights / weights.sum(1, keepdim=True).clamp(min=1)
        loss = F.cross_entropy(logits, labels[:, 1:][answered], reduction="none")
        return (weights[answered] * loss).sum() / len(labels)


def _contrastive(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean negative log of the softmax that targets [K, P] get together, over rows of logits [K, P]."""
    logits = logits.float()
    return (logits.logsumexp(1) - logits.masked_fill(~targets, -torch.inf).logsumexp(1)).mean()


def _balanced(logits: Tensor, presence: Tensor) -> Tensor:
    """Cross-entropy of logits [Q, I, 3], the mean over the kinds of words that there are of the mean over the words of
    each, since few words name something, and of those few what is not there."""
    losses = F.cross_entropy(logits.flatten(0, 1), presence.flatten(), ignore_index=IGNORE, reduction="none")
    means = [losses[presence.flatten() == kind].mean() for kind in PRESENCE if (presence == kind).any()]
    return torch.stack(means).mean() if means else logits.sum() * 0


def _iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of masks [M, 1, S, S] -> [M]."""
    intersection = (a & b).sum(dim=(1, 2, 3)).float()
    return intersection / (a | b).sum(dim=(1, 2, 3)).clamp(min=1)
