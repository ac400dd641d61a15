"""Questions that need no language model: about what prompts show, about all of an image, and for names that are not known."""

from __future__ import annotations

from dataclasses import replace

from ..data.asking import asks_for_all, only_points
from ..data.conversation import Conversation
from ..models import Mimo
from .all_structures import all_structures
from .answer import Entity
from .encoded_image import EncodedImage
from .measured_values import with_measured_values
from .name_guard import NameGuard
from .prompts_alone import outlined
from .question import Question

MARK_IT = "Mark what you mean with a point, a box or a scribble, or ask for it by its name."


def without_words(
    model: Mimo,
    conversation: Conversation,
    guard: NameGuard | None,
    image: EncodedImage,
    question: Question,
    temperature: float | None,
) -> tuple[str, list[Entity]] | None:
    """Text and entities; none where the question is one for the language model.

    Args:
        guard: of the names that the weights know.
        temperature: calibrates scores, if there is one.
    """
    text = question.text
    unknown = None if guard is None else guard.unknown(text)
    refusal = None if guard is None or unknown is None else guard.refusal(unknown)
    if model.region_names is None:
        return None if refusal is None or question.has_prompts else (refusal, [])
    if not question.has_prompts:
        if asks_for_all(text):
            return all_structures(model, image, temperature)
        if only_points(text):
            return MARK_IT, []
        if guard is not None and not guard.read(text)[1]:
            name, parts = guard.parts(text)
            if parts:
                told, entities = all_structures(model, image, temperature, parts)
                return (told, entities) if entities else (f"I cannot find any {name} here.", [])
        return None if refusal is None else (refusal, [])
    if text and not only_points(text) and unknown is None:
        return None
    said, entities = outlined(model, conversation, image, question, temperature)
    if guard is None or unknown is None:
        return with_measured_values(text, said, entities, image.spacing_mm)
    first = f"{guard.unknown_line(unknown)} "
    moved = [replace(e, span=(e.span[0] + len(first), e.span[1] + len(first))) for e in entities]
    return first + said, moved
