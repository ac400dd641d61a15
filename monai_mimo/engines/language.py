"""A first reading of the texts alone, for a language model that starts from nothing."""

from __future__ import annotations

import numpy as np
import torch
from datasets import Dataset as Rows
from ignite.engine import Engine
from torch.nn import functional as F

from ..data.collate import IGNORE, collate_questions
from ..models import Mimo
from ..transforms.resize import SquareResize
from .handlers import GradientClip, Progress
from .setup import warmup_cosine


def read_texts(model: Mimo, rows: Rows, steps: int, learning_rate: float, batch: int = 96, seed: int = 0) -> None:
    """Train the LLM on questions with their answers, without images, for `steps` batches.

    The published LLM can read before it sees its first image. One that cannot learns from images to guess a phrase by the
    modality before it learns to take it from the question; here the question is all there is.
    """
    if steps == 0:
        return
    conversation = model.conversation()
    language = model.language_model
    trainable = [p for p in language.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trainable, learning_rate)
    schedule = warmup_cosine(optimizer, steps)
    rng = np.random.default_rng(seed)
    texts = sorted(set(zip(rows["question"], rows["answer"])))
    encoded = {}
    device = next(model.parameters()).device

    def encode(number: int):  # noqa: ANN202
        if number not in encoded:
            question, answer = texts[number]
            points, boxes = question.count("<point>"), question.count("<box>")
            prompts = {"points": [(0, 0, 1)] * points, "boxes": [(0, 0, 1, 1)] * boxes}
            encoded[number] = conversation.encode(question, SquareResize(1, 1, 1), answer=answer, **prompts)
        return encoded[number]

    def step(engine: Engine, _: object) -> dict[str, torch.Tensor]:
        questions = [encode(n) for n in rng.integers(len(texts), size=batch)]
        inputs = collate_questions(questions, [0] * batch, model.tokenizer.pad_token_id).to(device)
        states = language.states(language.embed(inputs.input_ids), inputs.attention_mask)
        answered = inputs.labels[:, 1:] != IGNORE
        loss = F.cross_entropy(language.logits(states[:, :-1][answered]).float(), inputs.labels[:, 1:][answered])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        schedule.step()
        return {"loss": loss.detach()}

    reader = Engine(step)
    Progress("reading texts").attach(reader)
    reader.run(range(steps), max_epochs=1)
