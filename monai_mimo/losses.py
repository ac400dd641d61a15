"""The training loss: text cross-entropy, mask BCE and Dice with the weights of LISA and GLaMM, and SAM's score loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional as F

from .data.collate import IGNORE
from .models.mimo import Prediction


@dataclass
class Targets:
    """labels [Q, T] as in `QuestionBatch`; masks bool [M, S, S], one for each `<SEG>` in order."""

    labels: Tensor
    masks: Tensor


class MimoLoss(nn.Module):
    """Weighted sum of the parts; `parts` holds their last values, unweighted, for the log.

    Args:
        text, bce, dice: weights as published for LISA (Lai et al. 2024) and GLaMM (Rasheed et al. 2024).
        score: weight of the squared error of a mask's predicted IoU, as SAM trains it (Kirillov et al. 2023).
    """

    def __init__(self, text: float = 1.0, bce: float = 2.0, dice: float = 0.5, score: float = 1.0) -> None:
        super().__init__()
        self.weights = {"text": text, "bce": bce, "dice": dice, "score": score}
        self.dice = DiceLoss(sigmoid=True)
        self.parts: dict[str, float] = {}

    def forward(self, prediction: Prediction, targets: Targets) -> Tensor:
        """The loss of a batch; its mask parts are zero for a batch without masks."""
        labels = targets.labels[:, 1:]
        parts = {"text": F.cross_entropy(prediction.text_logits.float(), labels[labels != IGNORE])}
        if len(targets.masks):
            masks = targets.masks[:, None].float()
            logits = prediction.mask_logits[:, None].float()
            logits = F.interpolate(logits, masks.shape[-2:], mode="bilinear")
            parts["bce"] = F.binary_cross_entropy_with_logits(logits, masks)
            parts["dice"] = self.dice(logits, masks)
            parts["score"] = F.mse_loss(prediction.scores.float(), _iou(logits.detach() > 0, targets.masks[:, None]))
        else:  # keep the mask decoder in the graph, so that every process of a distributed run reduces its gradient
            parts["bce"] = prediction.mask_logits.sum() + prediction.scores.sum()
        self.parts = {name: value.detach().item() for name, value in parts.items()}
        return torch.stack([self.weights[name] * value for name, value in parts.items()]).sum()


def _iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of masks [M, 1, S, S] -> [M]."""
    intersection = (a & b).sum(dim=(1, 2, 3)).float()
    return intersection / (a | b).sum(dim=(1, 2, 3)).clamp(min=1)
