"""Writing: the grammar, and that batches, the cache, noted states and streams change nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import CompileConfig, PreTrainedTokenizerBase

from monai_mimo.data.conversation import QuestionBatch, collate_questions
from monai_mimo.data.tokenizer import PHRASE_END, PHRASE_START, SEG, train_tokenizer
from monai_mimo.inference.answer import parse_answer
from monai_mimo.models import Answers, Mimo, load_preset
from monai_mimo.models.config import LoraConfig
from monai_mimo.models.generation import PhraseGrammar
from monai_mimo.models.language_model import add_lora

from ..conftest import TEXTS, encode, make_nano

TOKENIZER = train_tokenizer(TEXTS * 4, 512)
VOCABULARY = len(TOKENIZER) + 5  # as models whose embeddings are padded to a round number


def talkative(lora: dict | None = None) -> Mimo:
    """A model that writes all kinds of tokens, phrases often: its output embeddings are random and not those of its input."""
    language = asdict(load_preset("nano").language_model)
    language["architecture"]["tie_word_embeddings"] = False
    model = make_nano(language_model=language).eval()
    with torch.no_grad():
        head = model.language_model.causal_lm.get_output_embeddings().weight
        head.copy_(torch.randn(head.shape, generator=torch.Generator().manual_seed(5)))
        head[list(model.phrase_ids)] *= 2
    if lora is not None:
        model.language_model.model = add_lora(model.language_model.model, LoraConfig(**lora), model.tokenizer)
    return model


def questions_of(model: Mimo) -> tuple[list, list[int]]:
    """Four questions of unequal length about two images."""
    texts = ["Where is the left kidney?", "What?", "What lies at <point>?", "Name what <box> holds."]
    prompts = [{}, {}, {"points": [(9, 9, 1)]}, {"boxes": [(2, 3, 20, 30)]}]
    return [encode(model, t, **p) for t, p in zip(texts, prompts)], [0, 1, 1, 0]


def batch_of(model: Mimo, *chosen: int) -> QuestionBatch:
    questions, images = questions_of(model)
    return collate_questions(
        [questions[n] for n in chosen], [images[n] for n in chosen], model.tokenizer.pad_token_id, generate=True
    )


def check_phrases(ids: list[int], tokenizer: PreTrainedTokenizerBase) -> None:
    """By a state machine over the tokens, independent of how the grammar is written."""
    start, close, seg = tokenizer.convert_tokens_to_ids([PHRASE_START, PHRASE_END, SEG])
    state, words = "outside", 0
    for token in ids:
        if state == "closed":
            assert token == seg
            state = "outside"
        elif state == "inside":
            assert token not in (start, seg, tokenizer.eos_token_id)
            if token == close:
                assert words > 0
                state = "closed"
            words += bool(tokenizer.decode([token]).strip())
        else:
            assert token not in (close, seg)
            if token == start:
                state, words = "inside", 0
        if token == tokenizer.eos_token_id:
            break
        assert token < len(tokenizer)
        assert token in (start, close, seg) or token not in tokenizer.all_special_ids
    assert state == "outside"
    _, phrases = parse_answer(ids, tokenizer)
    assert len(phrases) == ids.count(seg) == ids.count(start)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), questions=st.integers(1, 5), length=st.integers(1, 24), bias=st.floats(0, 12))
def test_whatever_the_logits_phrases_are_whole(seed: int, questions: int, length: int, bias: float) -> None:
    """Random logits in which MIMO's own tokens, white space and the end are made likely."""
    random = torch.Generator().manual_seed(seed)
    likely = [*TOKENIZER.all_special_ids, *TOKENIZER.convert_tokens_to_ids(["Ġ", "Ċ"]), VOCABULARY - 1]
    grammar = PhraseGrammar(TOKENIZER, VOCABULARY).limited(length)
    ids = torch.zeros(questions, 0, dtype=torch.long)
    done = torch.zeros(questions, dtype=torch.bool)
    for _ in range(length):
        scores = torch.randn(questions, VOCABULARY, generator=random)
        scores[:, likely] += bias * torch.rand(questions, len(likely), generator=random)
        token = grammar(ids, scores).argmax(1)
        token[done] = TOKENIZER.pad_token_id
        done |= token == TOKENIZER.eos_token_id
        ids = torch.cat([ids, token[:, None]], dim=1)
    for row in ids.tolist():
        end = row.index(TOKENIZER.eos_token_id) + 1 if TOKENIZER.eos_token_id in row else length
        check_phrases(row[:end], TOKENIZER)


def test_the_grammar_leaves_a_right_answer_as_it_is() -> None:
    """Every token of an answer of the training set is allowed, with its logit unchanged."""
    for text in ("I see the <p> liver </p> <SEG> and the <p> spleen </p> <SEG>.", "There is no tumor in this image."):
        ids = torch.tensor([[*TOKENIZER(text, add_special_tokens=False)["input_ids"], TOKENIZER.eos_token_id]])
        grammar = PhraseGrammar(TOKENIZER, VOCABULARY).limited(ids.shape[1])
        for n in range(ids.shape[1]):
            scores = torch.randn(1, VOCABULARY)
            assert grammar(ids[:, :n], scores)[0, ids[0, n]] == scores[0, ids[0, n]]


@pytest.mark.parametrize("lora", [None, {"rank": 4, "alpha": 8}])
def test_a_batch_padded_at_the_left_writes_what_each_question_alone_does(lora: dict | None) -> None:
    model = talkative(lora=lora)
    features = model.encode(torch.rand(2, 3, 64, 64))
    together = model.answer(features, batch_of(model, 0, 1, 2, 3), max_tokens=16)
    assert len(together.places) > 0
    for n in range(4):
        alone = model.answer(features, batch_of(model, n), max_tokens=16)
        length = alone.ids.shape[1]
        assert together.ids[n, :length].tolist() == alone.ids[0].tolist()
        assert set(together.ids[n, length:].tolist()) <= {model.tokenizer.pad_token_id}
        torch.testing.assert_close(together.probabilities[n, :length], alone.probabilities[0], atol=1e-5, rtol=1e-4)
        own = together.places[:, 0] == n
        assert together.places[own, 1].tolist() == alone.places[:, 1].tolist()
        torch.testing.assert_close(together.mask_logits[own], alone.mask_logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(together.scores[own], alone.scores, atol=1e-4, rtol=1e-4)


def test_cache_states_and_probabilities_are_those_of_a_pass_over_the_whole() -> None:
    """Greedy by hand: without a cache, reading everything again for each token, and with the grammar of `check_phrases`."""
    model = talkative()
    language, batch = model.language_model, batch_of(model, 2)
    features = model.encode(torch.rand(2, 3, 64, 64))
    with torch.no_grad():
        embeddings, _, _ = model.embed_inputs(model.encode_prompts(features, batch), batch)
        written = language.generate(embeddings, batch.attention_mask, 20)
        question, length = embeddings.shape[1], written.ids.shape[1]
        whole = torch.cat([embeddings, language.embed(written.ids)], dim=1)
        states = language.states(whole, torch.ones(1, whole.shape[1]))
        distribution = language.logits(states[0, question - 1 : -1]).softmax(-1)
    check_phrases(written.ids[0].tolist(), model.tokenizer)
    assert model.seg_id in written.ids
    read = length if written.ids[0, -1] == model.seg_id else length - 1  # no token follows the last
    torch.testing.assert_close(written.states[:, :read], states[:, question:][:, :read], atol=1e-4, rtol=1e-4)
    chosen = distribution[torch.arange(length), written.ids[0]]
    torch.testing.assert_close(written.probabilities[0], chosen, atol=1e-5, rtol=1e-4)
    grammar = language.grammar.limited(20)
    for n in range(length):
        assert grammar(written.ids[:, :n], distribution[n : n + 1].log()).argmax() == written.ids[0, n]


@pytest.mark.parametrize("max_tokens", [1, 3, 4, 5, 9])
def test_an_answer_cut_short_has_whole_phrases_and_their_masks(max_tokens: int) -> None:
    model = talkative()
    answers = model.answer(model.encode(torch.rand(2, 3, 64, 64)), batch_of(model, 0, 1, 2, 3), max_tokens)
    assert answers.ids.shape == answers.probabilities.shape == (4, max_tokens)
    for row in answers.ids.tolist():
        check_phrases(row, model.tokenizer)
    count = int((answers.ids == model.seg_id).sum())
    assert answers.mask_logits.shape == (count, 32, 32)
    assert answers.scores.shape == (count,)


def test_without_the_grammar_anything_is_written() -> None:
    model = talkative()
    features, batch = model.encode(torch.rand(2, 3, 64, 64)), batch_of(model, 0, 1, 2, 3)
    free = model.answer(features, batch, 24, whole_phrases=False)
    starts, segs = ((free.ids == token).sum(1) for token in (model.phrase_ids[0], model.seg_id))
    assert not torch.equal(starts, segs)


def test_the_end_token_ends_an_answer() -> None:
    model = talkative()
    head = model.language_model.causal_lm.get_output_embeddings()
    features, batch = model.encode(torch.rand(2, 3, 64, 64)), batch_of(model, 0, 1)
    before = model.answer(features, batch, 8).ids[0].tolist()
    with torch.no_grad():  # where the first answer wrote its second token, it now ends, if not earlier
        head.weight[model.tokenizer.eos_token_id] = head.weight[before[1]] * 1.5
    after = model.answer(features, batch, 8).ids[0].tolist()
    end = after.index(model.tokenizer.eos_token_id)
    assert after[:end] == before[:end]
    assert set(after[end + 1 :]) <= {model.tokenizer.pad_token_id}


def test_tokens_are_handed_on_as_they_come() -> None:
    model = talkative()
    features, batch = model.encode(torch.rand(2, 3, 64, 64)), batch_of(model, 0, 2)
    columns: list[Tensor] = []
    streamed = model.answer(features, batch, 12, on_tokens=columns.append)
    assert torch.equal(torch.stack(columns, dim=1), streamed.ids)
    same(streamed, model.answer(features, batch, 12))


def test_compiled_writing_is_the_same() -> None:
    """With torch's tracer and a cache of fixed size, but without making machine code, which takes minutes."""
    model = talkative()
    features, batch = model.encode(torch.rand(2, 3, 64, 64)), batch_of(model, 0, 1, 2, 3)
    plain = model.answer(features, batch, 12)
    config = CompileConfig(backend="eager", mode=None)
    config._compile_all_devices = True
    model.language_model.compile_config = config
    compiled = model.answer(features, batch, 12)
    assert torch._dynamo.utils.counters["stats"]["calls_captured"] > 0
    same(plain, compiled)


def test_two_threads_may_write_by_one_model() -> None:
    model = talkative()
    features, batches = model.encode(torch.rand(2, 3, 64, 64)), [batch_of(model, n) for n in range(4)]
    alone = [model.answer(features, batch, 16) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for a, b in zip(alone, pool.map(lambda batch: model.answer(features, batch, 16), batches)):
            same(a, b)


def same(a: Answers, b: Answers) -> None:
    assert torch.equal(a.ids, b.ids)
    assert torch.equal(a.places, b.places)
    for name in ("probabilities", "mask_logits", "scores"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), atol=1e-4, rtol=1e-4)
