"""A first reading of the texts alone, for a language model that starts from nothing."""

from __future__ import annotations

import re

import numpy as np
import torch
from datasets import Dataset as Rows
from ignite.engine import Engine
from torch import Tensor, nn

from ..data.collate import IGNORE, QuestionBatch, collate_questions
from ..losses import MimoLoss, Targets
from ..models import Mimo
from ..models.mimo import Prediction
from ..transforms.resize import SquareResize
from .handlers import Progress
from .setup import warmup_cosine

ANYWHERE = SquareResize(1, 1, 1)  # no image is read, so prompts need no place


def read_texts(model: Mimo, rows: Rows, loss: MimoLoss, steps: int, learning_rate: float, batch: int = 64) -> None:
    """Train the LLM on the questions and answers of `rows` without their images, for `steps` batches.

    The published LLM can read before it sees its first image. One that starts from nothing learns from images to guess a
    phrase by the modality long before it learns to take it from the question; here the question is all there is. Where
    the question refers to a prompt, the LLM reads the mean embedding of the phrase that is meant: it learns to name what
    a prompt's token tells it, before the aligner has learned to tell anything.
    """
    if steps == 0:
        return
    texts = sorted(set(zip(rows["question"], rows["answer"])))
    rng = np.random.default_rng(0)
    language = nn.ModuleList([model.language_model, model.phrase_of_seg])
    parameters = [p for p in language.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, learning_rate)
    schedule = warmup_cosine(optimizer, steps)

    def step(engine: Engine, _: object) -> dict[str, Tensor]:
        value = text_loss(model, loss, [texts[n] for n in rng.integers(len(texts), size=batch)])
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        return {"loss": value.detach()}

    reader = Engine(step)
    Progress("reading texts").attach(reader)
    reader.run(range(steps), max_epochs=1)


def text_loss(model: Mimo, loss: MimoLoss, texts: list[tuple[str, str]]) -> Tensor:
    """The loss of answers to questions without an image."""
    conversation, language = model.conversation(), model.language_model
    encoded = []
    for question, answer in texts:
        points, boxes = question.count("<point>"), question.count("<box>")
        encoded.append(conversation.encode(question, ANYWHERE, [(0, 0, 1)] * points, [(0, 0, 1, 1)] * boxes, answer))
    device = next(model.parameters()).device
    questions = collate_questions(encoded, [0] * len(texts), model.tokenizer.pad_token_id).to(device)
    embeddings = tell_phrases(model, questions, texts)
    states = language.states(embeddings, questions.attention_mask)
    logits = language.logits(states[:, :-1][questions.labels[:, 1:] != IGNORE])
    no_masks = logits.new_zeros(0, 1, 1)
    prediction = Prediction(logits, no_masks, logits.new_zeros(0), model.align(questions, states))
    return loss(prediction, Targets(questions.labels, no_masks.bool()))


def tell_phrases(model: Mimo, questions: QuestionBatch, texts: list[tuple[str, str]]) -> Tensor:
    """The LLM's input [Q, T, H] with the mean embedding of a phrase at each token of the prompt that means it."""
    language = model.language_model
    told = []
    for question, answer in texts:
        tokens = 2 if "<box>" in question else 1  # a box is two tokens
        phrases = re.findall("<p> (.+?) </p>", answer) if re.search("<point>|<box>", question) else []
        for phrase in phrases:
            ids = torch.tensor(model.tokenizer(phrase, add_special_tokens=False)["input_ids"])
            told += [language.embed(ids.to(questions.input_ids.device)).mean(dim=0)] * tokens
    ids = questions.input_ids
    embeddings = language.embed(ids)
    at_prompt = ((ids == model.point_id) | (ids == model.box_id)).unsqueeze(-1)
    return embeddings.masked_scatter(at_prompt, torch.stack(told)) if told else embeddings
