"""MIMO as a plain segmentation network: one phrase, image in, mask out."""

from __future__ import annotations

from torch import Tensor, nn

from ..data.conversation import collate_questions
from ..mimoseg.questions.templates import grounded, listed
from ..models import Mimo
from ..transforms.resize import SquareResize


class PhraseNetwork(nn.Module):
    """Segments one phrase in every image it is given, for tools that know networks from tensor to tensor.

    The answer is not written but given ("Here is the <p> liver </p> <SEG>."), so absence is never reported; ask
    `MimoPredictor` for that.

    Args:
        model: the trained model.
        phrase: what to segment, as the training set names it.
    """

    def __init__(self, model: Mimo, phrase: str) -> None:
        super().__init__()
        self.model = model
        side = model.config.image_size
        self.question = model.conversation().encode(
            f"Segment {listed([phrase])} in this image.",
            SquareResize(side, side, side),
            answer=f"Here is {grounded([phrase])}.",
            named={phrase: True},
        )

    def forward(self, images: Tensor) -> Tensor:
        """images [B, 3, S, S] in 0..1 -> mask logits [B, 1, S / 2, S / 2]."""
        count = len(images)
        questions = collate_questions([self.question] * count, range(count), self.model.tokenizer.pad_token_id)
        return self.model(images, questions.to(images.device)).mask_logits[:, None]
