"""The training loss: text cross-entropy, mask BCE and Dice with the weights of LISA and GLaMM, and SAM's score loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional as F

from .data.conversation import IGNORE, PRESENCE
from .models.outputs import Prediction
from .models.phrase_alignment import inside_phrases


@dataclass
class Targets:
    """labels [Q, T] and presence [Q, I] as in `QuestionBatch`; masks bool [M, S, S], one for each `<SEG>` in order."""

    labels: Tensor
    masks: Tensor
    presence: Tensor | None = None


BCE, DICE = 2.0, 0.5  # weights as published for LISA (Lai et al. 2024) and GLaMM (Rasheed et al. 2024)


class MimoLoss(nn.Module):
    """Weighted sum of the parts; `parts` holds their last values as tensors, unweighted, for the log.

    Args:
        text, bce, dice: weights of the cross-entropy of the text, and of masks.
        phrase: weight of a token between `<p>` and `</p>` relative to other tokens of an answer. Which of many wordings
            was drawn is noise to the model, which phrase stands in it is not; 1 is the published loss.
        alignment: weight of the contrastive loss between tokens and the phrases they stand for (`models.phrase_alignment`), akin
            to that of BLIP-2's first stage (Li et al. 2023); 0 is the published loss.
        presence: weight of the cross-entropy of the words of the questions (`models.presence`); 0 is the published loss.
        naming: weight of the distance of `<SEG>` states from the names that are meant (`models.region_names`); 0 is the
            published loss.
        phrase_tokens: the ids of `<p>` and `</p>`.
        score: weight of the squared error of a mask's predicted IoU, as SAM trains it (Kirillov et al. 2023).
    """

    def __init__(
        self,
        text: float = 1.0,
        bce: float = BCE,
        dice: float = DICE,
        score: float = 1.0,
        phrase: float = 1.0,
        alignment: float = 0.0,
        presence: float = 0.0,
        naming: float = 0.0,
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
            "naming": naming,
        }
        self.dice = DiceLoss(sigmoid=True)
        self.parts: dict[str, Tensor] = {}

    def forward(self, prediction: Prediction, targets: Targets, totals: Tensor | None = None) -> Tensor:
        """The loss of a batch; its mask parts are zero for a batch without masks.

        Args:
            totals: `loss_counts` of the global batch that this one is a part of: the loss is then the part's share, and the
                shares of all parts add up to the loss of the global batch. (The contrastive part compares within a part.)
        """
        own = loss_counts(targets).to(targets.labels.device)
        totals = own if totals is None else totals.to(own.device)
        of_answers, of_masks = (own[:2] / totals[:2].clamp(min=1)).float()
        parts = {"text": self._text(prediction.text_logits.float(), targets.labels) * of_answers}
        if len(targets.masks):
            masks = targets.masks[:, None].float()
            logits = prediction.mask_logits[:, None].float()
            logits = F.interpolate(logits, masks.shape[-2:], mode="bilinear")
            parts["bce"] = F.binary_cross_entropy_with_logits(logits, masks) * of_masks
            parts["dice"] = self.dice(logits, masks) * of_masks
            iou = mask_iou(logits.detach() > 0, targets.masks[:, None])
            parts["score"] = F.mse_loss(prediction.scores.float(), iou) * of_masks
        else:  # keep the mask decoder in the graph, so that every process of a distributed run reduces its gradient
            parts["bce"] = prediction.mask_logits.sum() + prediction.scores.sum()
        if prediction.alignment is not None:
            parts["alignment"] = _contrastive(*prediction.alignment) * of_answers
        if prediction.presence_logits is not None and targets.presence is not None:
            parts["presence"] = _balanced(prediction.presence_logits.float(), targets.presence, totals[2:].float())
        if prediction.naming is not None:
            parts["naming"] = prediction.naming * of_masks
        self.parts = {name: value.detach() for name, value in parts.items()}
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


def loss_counts(targets: Targets) -> Tensor:
    """What the parts of the loss are means over, float64 [5]: answers, masks, and words of each kind of `PRESENCE`."""
    words = [0 if targets.presence is None else int((targets.presence == kind).sum()) for kind in PRESENCE]
    return torch.tensor([len(targets.labels), len(targets.masks), *words], dtype=torch.float64)


def _contrastive(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean negative log of the softmax that targets [K, P] get together, over rows of logits [K, P]; zero without rows."""
    if len(logits) == 0:
        return logits.sum()
    logits = logits.float()
    return (logits.logsumexp(1) - logits.masked_fill(~targets, -torch.inf).logsumexp(1)).mean()


def _balanced(logits: Tensor, presence: Tensor, totals: Tensor) -> Tensor:
    """Cross-entropy of logits [Q, I, 3], the mean over the kinds of words that there are of the mean over the words of
    each (as many as `totals` [3] says), since few words name something, and of those few what is not there."""
    losses = F.cross_entropy(logits.flatten(0, 1), presence.flatten(), ignore_index=IGNORE, reduction="none")
    sums = torch.stack([losses[presence.flatten() == kind].sum() for kind in PRESENCE])
    return (sums / totals.clamp(min=1)).sum() / (totals > 0).sum().clamp(min=1)


def mask_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of masks bool [M, ...] -> [M]; 0 of two empty ones."""
    intersection = (a & b).flatten(1).sum(1).float()
    return intersection / (a | b).flatten(1).sum(1).clamp(min=1)
