"""Teach the image side to speak to a language model that has read the texts, without running the language model.

A step through SmolLM2 costs several times one through all else, and what the image side has to learn of it is little: to turn
a prompt into the word that it means, to say which words name what is there, and to decode the state at `<SEG>` into a mask. The
first two are losses on the aligner alone. For the third, the states are those that the language model had at `<SEG>` of the
same phrase in texts.
"""

from __future__ import annotations

import numpy as np
import torch
from datasets import Dataset as Rows
from ignite.engine import Engine
from torch import Tensor, nn
from torch.nn import functional as F

from ...data.conversation import IGNORE, QuestionBatch
from ...data.dataset import Batch
from ...data.step_loader import StepLoader
from ...evaluation.progress import Progress
from ...losses import MimoLoss, Targets
from ...models import Mimo
from ...models.outputs import Prediction
from ...models.phrase_alignment import inside_phrases
from ..checkpoints import Checkpoints, TrainedParts
from ..handlers import TimeBudget, timed
from ..trainer import run_stage, train_step
from .text import embed_texts, encode_texts, texts_of

Phrase = tuple[int, ...]  # as token ids


@torch.no_grad()
def states_of_phrases(model: Mimo, rows: Rows, *, each: int = 64, batch: int = 16) -> dict[Phrase, Tensor]:
    """The states [n, H], n about `each`, of the language model at `<SEG>` of each phrase, in texts of `rows`."""
    texts = texts_of(rows, (1, 2))
    phrases = sorted({phrase for text in texts for phrase in text[2]})
    rng = np.random.default_rng(0)
    chosen = []
    for phrase in phrases:
        with_it = [text for text in texts if phrase in text[2]]
        chosen += [with_it[n] for n in rng.permutation(len(with_it))[:each]]
    found: dict[Phrase, list[Tensor]] = {}
    chosen.sort(key=lambda text: len(text[0]) + len(text[1]))  # little padding
    for start in range(0, len(chosen), batch):
        part = chosen[start : start + batch]
        questions = encode_texts(model, part)
        states = model.language_model.states(embed_texts(model, questions, part), questions.attention_mask)
        rows_, places = torch.nonzero(questions.labels == model.seg_id, as_tuple=True)
        for phrase_ids, state in zip(phrases_at_seg(model, questions.labels), states[rows_, places]):
            found.setdefault(phrase_ids, []).append(state)
    return {phrase: torch.stack(states) for phrase, states in found.items()}


def phrases_at_seg(model: Mimo, labels: Tensor) -> list[Phrase]:
    """The phrase that stands before each `<SEG>` of labels [Q, T], in order."""
    inside = inside_phrases(labels, model.phrase_ids)
    out: list[Phrase] = []
    for row, words in zip(labels.tolist(), inside.tolist()):
        phrase: list[int] = []
        for token, word in zip(row, words):
            if token == model.phrase_ids[0]:
                phrase = []
            elif word:
                phrase.append(token)
            elif token == model.seg_id:
                out.append(tuple(phrase))
    return out


class WithoutLanguageModel(nn.Module):
    """`Mimo` with remembered states in the place of its language model.

    Args:
        model: its parameters, but for those of the language model, are trained.
        states: of `states_of_phrases`.
    """

    def __init__(self, model: Mimo, states: dict[Phrase, Tensor]) -> None:
        super().__init__()
        self.model, self.states = model, states

    def forward(self, images: Tensor, questions: QuestionBatch) -> tuple[Prediction, Tensor]:
        """The prediction, without text, and how far the image tokens are from the `<image>` that the language model read in
        the texts (mean squared error): so that it is not disturbed until it learns to read them."""
        model = self.model
        features = model.encode(images)
        prompted = model.encode_prompts(features, questions)
        embeddings, prompt_tokens, presence = model.embed_inputs(prompted, questions)
        at_image = questions.input_ids == model.image_id
        known = model.language_model.embed(questions.input_ids.new_tensor([model.image_id]))
        far = F.mse_loss(embeddings[at_image], known.expand(int(at_image.sum()), -1).detach())
        question, place = torch.nonzero(questions.labels == model.seg_id, as_tuple=True)
        states = torch.zeros_like(embeddings)
        for row, column, phrase in zip(question, place, phrases_at_seg(model, questions.labels)):
            states[row, column] = self._state(phrase)
        masks, scores = model.decode_masks(features, prompted, questions, question, states[question, place])
        alignment = model.align(questions, states, prompt_tokens)
        return Prediction(embeddings.new_zeros(0, 1), masks, scores, alignment, presence), far

    def _state(self, phrase: Phrase) -> Tensor:
        states = self.states[phrase]
        return states[np.random.randint(len(states))]  # noqa: NPY002 - seeded with the run


def pretrain_projector(
    model: Mimo,
    rows: Rows,
    loader: StepLoader,
    loss: MimoLoss,
    minutes: float,
    learning_rate: float,
    checkpoints: Checkpoints | None = None,
) -> None:
    """Train the aligner, what tells words, and the mask decoder for `minutes`.

    Args:
        model: whose language side has read the texts (`pretrain_text`); what is frozen stays.
        rows: of the training split; loader: of the same.
        loss: of the model.
        learning_rate: of Adam.
        checkpoints: as of `pretrain_text`.
    """
    if not minutes or (checkpoints is not None and checkpoints.skip("aligning")):
        return
    states = states_of_phrases(model, rows)
    network = WithoutLanguageModel(model, states)
    parameters = [
        p for name, p in model.named_parameters() if p.requires_grad and not name.startswith("language_model.")
    ]
    optimizer = torch.optim.Adam(parameters, learning_rate)
    budget = TimeBudget(minutes)
    schedule = timed(optimizer, budget)
    model.train()

    def loss_of(batch: Batch) -> Tensor:
        questions = batch.questions
        prediction, far = network(batch.images, questions)
        nothing = torch.full_like(questions.labels, IGNORE)
        return loss(prediction, Targets(nothing, batch.masks, questions.presence)) + 10 * far

    engine = Engine(lambda _, batches: train_step(optimizer, schedule, map(loss_of, batches)))
    Progress("aligning images", budget).attach(engine)
    parts = {"model": TrainedParts(model), "optimizer": optimizer, "schedule": schedule}
    run_stage(engine, "aligning", loader, parts, checkpoints, budget=budget)
