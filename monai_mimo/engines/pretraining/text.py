"""A first reading of the texts alone, for a language model that starts from nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import repeat

import numpy as np
import torch
from datasets import Dataset as Rows
from ignite.engine import Engine
from torch import Tensor, nn

from ...data.conversation import IGNORE, QuestionBatch, collate_questions
from ...data.dataset import first_sentences, named_in
from ...evaluation.progress import Progress
from ...losses import MimoLoss, Targets
from ...models import Mimo
from ...models.outputs import Prediction
from ...transforms.resize import SquareResize
from ..checkpoints import Checkpoints, GeneratorState, TrainedParts
from ..handlers import TimeBudget, timed
from ..setup import warmup_cosine
from ..trainer import run_stage, train_step

COLUMNS = ("question", "answer", "entities", "absent", "perspective")
TEXT_PARTS = ("language_model", "phrase_of_seg", "presence")  # the parts of a model that reading changes
ANYWHERE = SquareResize(1, 1, 1)  # no image is read, so prompts need no place


def pretrain_text(
    model: Mimo,
    rows: Rows,
    loss: MimoLoss,
    steps: int,
    learning_rate: float,
    batch: int = 64,
    *,
    minutes: float = 0,
    knowledge: float = 0,
    sentences: int = 0,
    checkpoints: Checkpoints | None = None,
) -> None:
    """Train the LLM on the questions and answers of `rows` without their images, for `steps` batches.

    The published LLM can read before it sees its first image. One that starts from nothing learns from images to guess a
    phrase by the modality long before it learns to take it from the question; here the question is all there is. What
    the aligner shall tell it once there are images is told truly: a prompt's token is the mean embedding of the phrase that
    is meant, and the words of the question are said to name what is there or what is not.

    What shall be learned is to take names as they are told, whatever they are: so names are exchanged at random for others of
    the set, and texts with few and with many names, or with absent ones, are drawn equally often.

    Every process reads the same and comes to the same.

    Args:
        model: what of its language side is trainable is trained.
        rows: of a built set.
        loss: of the model.
        steps: how many batches; `minutes`, if not 0, are what counts instead.
        learning_rate: of Adam.
        batch: texts in each.
        knowledge: the part of the batches that are made of perspectives III and IV, half as many texts and with their own names,
            since what they tell would be wrong with others.
        sentences: cut answers after so many (`data.dataset.first_sentences`).
        checkpoints: go on where the reading was stopped; there is nothing to do once they are of a stage that follows.
    """
    if (steps == 0 and not minutes) or (checkpoints is not None and checkpoints.skip("reading")):
        return
    texts, told = texts_of(rows, (1, 2), sentences), texts_of(rows, (3, 4), sentences)
    if not texts:
        return
    kinds: dict[tuple[int, int, bool], list[Text]] = {}
    for text in texts:
        kinds.setdefault((len(text[2]), len(text[3]), "<" in text[0]), []).append(text)
    groups, names = list(kinds.values()), sorted({name for text in texts for name in (*text[2], *text[3])})
    rng = np.random.default_rng(0)

    def draw() -> list[Text]:
        if told and rng.random() < knowledge:
            return [told[rng.integers(len(told))] for _ in range(batch // 2)]
        chosen = [groups[rng.integers(len(groups))] for _ in range(batch)]
        return [exchange_names(group[rng.integers(len(group))], names, rng) for group in chosen]

    language = nn.ModuleList(m for m in (getattr(model, part) for part in TEXT_PARTS) if m is not None)
    parameters = [p for p in language.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, learning_rate)
    budget = TimeBudget(minutes) if minutes else None
    schedule = timed(optimizer, budget) if budget else warmup_cosine(optimizer, steps)

    reader = Engine(lambda *_: train_step(optimizer, schedule, [text_loss(model, loss, draw())]))
    Progress("reading texts", budget).attach(reader)
    parts = {
        "model": TrainedParts(model),
        "optimizer": optimizer,
        "schedule": schedule,
        "texts": GeneratorState(rng),
    }
    run_stage(reader, "reading", repeat(None), parts, checkpoints, budget=budget, steps=steps)


Text = tuple[
    str, str, tuple[str, ...], tuple[str, ...]
]  # question, answer, and the entities that are there and that are not


def texts_of(rows: Rows, perspectives: Sequence[int], sentences: int = 0) -> list[Text]:
    """The different questions and answers of some perspectives, in a fixed order; answers up to so many sentences (0: all)."""
    found: set[Text] = set()
    for question, answer, entities, absent, perspective in zip(*(rows[column] for column in COLUMNS)):
        if perspective in perspectives:
            names = tuple(entity["phrase"] for entity in entities)
            found.add((question, first_sentences(answer, sentences), names, tuple(absent)))
    return sorted(found)


def exchange_names(text: Text, names: Sequence[str], rng: np.random.Generator) -> Text:
    """The same question and answer about other entities, drawn from `names` without repeats."""
    question, answer, phrases, absent = text
    old = [*phrases, *absent]
    new = dict(zip(old, rng.choice(names, size=len(old), replace=False).tolist()))
    longest_first = "|".join(re.escape(name) for name in sorted(old, key=len, reverse=True))
    by_lower = {name.lower(): other for name, other in new.items()}
    if old:
        question, answer = (
            re.sub(longest_first, lambda match: by_lower[match[0].lower()], part, flags=re.IGNORECASE)
            for part in (question, answer)
        )
    return question, answer, tuple(new[p] for p in phrases), tuple(new[p] for p in absent)


def text_loss(model: Mimo, loss: MimoLoss, texts: list[Text]) -> Tensor:
    """The loss of answers to questions without an image."""
    language, questions = model.language_model, encode_texts(model, texts)
    embeddings = embed_texts(model, questions, texts)
    states = language.states(embeddings, questions.attention_mask)
    logits = language.logits(states[:, :-1][questions.labels[:, 1:] != IGNORE])
    no_masks = logits.new_zeros(0, 1, 1)
    prediction = Prediction(logits, no_masks, logits.new_zeros(0), model.align(questions, states))
    return loss(prediction, Targets(questions.labels, no_masks.bool()))


def encode_texts(model: Mimo, texts: Sequence[Text]) -> QuestionBatch:
    """Questions and answers as a batch, without images."""
    conversation, encoded = model.conversation(), []
    for question, answer, phrases, absent in texts:
        points, boxes = [(0, 0, 1)] * question.count("<point>"), [(0, 0, 1, 1)] * question.count("<box>")
        encoded.append(conversation.encode(question, ANYWHERE, points, boxes, answer, named_in(phrases, absent)))
    device = next(model.parameters()).device
    return collate_questions(encoded, [0] * len(texts), model.tokenizer.pad_token_id).to(device)


def embed_texts(model: Mimo, questions: QuestionBatch, texts: list[Text]) -> Tensor:
    """The LLM's input [Q, T, H] with what the aligner shall tell: the mean embedding of a phrase at the tokens of its prompt,
    and the presence of words."""
    language, ids = model.language_model, questions.input_ids
    if model.presence is not None:
        embeddings = model.embed_words(questions, model.presence.embed(questions.presence))
    else:
        embeddings = language.embed(ids).clone()
    for row, (question, _, phrases, _) in enumerate(texts):
        if re.search("<point>|<box>", question):
            tokens = 2 if "<box>" in question else 1  # a box is two tokens
            at_prompt = (ids[row] == model.point_id) | (ids[row] == model.box_id)
            words = [model.tokenizer(phrase, add_special_tokens=False)["input_ids"] for phrase in phrases]
            means = torch.stack([language.embed(torch.tensor(w, device=ids.device)).mean(dim=0) for w in words])
            embeddings[row, at_prompt] = means.repeat_interleave(tokens, dim=0)
    return embeddings
