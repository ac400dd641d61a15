"""The answer to prompts without words: what they show, by its name where it has one."""

from __future__ import annotations

from ..data.conversation import Conversation, collate_questions
from ..data.names import REGION
from ..models import Mimo
from .answer import Entity, score_of
from .encoded_image import EncodedImage
from .question import Question, shown_by
from .second_look import Sought, look_closer


def outlined(
    model: Mimo, conversation: Conversation, image: EncodedImage, question: Question, temperature: float | None
) -> tuple[str, list[Entity]]:
    """Text and entities; what is outlined by its name but does not hold every positive click is outlined without one.

    Args:
        question: whose prompts are read, but not its text.
        temperature: calibrates the score, if there is one.
    """
    _, points, boxes, scribbles, mask_input = question
    encoded = conversation.encode("", image.resize, points, boxes, scribbles=scribbles, logits=mask_input)
    batch = collate_questions([encoded], [0], model.tokenizer.pad_token_id, generate=True)
    inside = [(int(x), int(y)) for x, y, label in points if label]
    for name, probability, logits, iou, conditions in model.point_out(
        image.features, batch.to(image.features.context.device)
    ):
        grid = logits.float().cpu()
        mask, given = (image.resize.logits_to_image(grid[None])[0] > 0).numpy(), grid.numpy()
        if image.pixels is not None:
            [closer] = look_closer(model, image.pixels, [mask], [Sought(conditions, shown_by(question), logits)])
            mask, given, iou = closer or (mask, given, iou)
        if not mask.any() or not all(mask[y, x] for x, y in inside):
            continue
        score = score_of(iou, probability, temperature)
        start, end = ("This is a ", " that I have no name for.") if name == REGION else ("This is the ", ".")
        span = len(start), len(start) + len(name)
        return start + name + end, [Entity(name, span, mask, score, given)]
    return "I see nothing at this place that I could outline.", []
