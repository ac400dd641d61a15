"""The text of an answer as it is written."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from monai_mimo.errors import InputError
from monai_mimo.inference import Answer, MimoPredictor
from monai_mimo.inference.answer import TextStream, parse_answer

from ..conftest import make_nano
from ..models.test_generation import TOKENIZER, talkative

TEXT = "I see the <p> liver </p> <SEG>, and a spot (7 \N{MICRO SIGN}m, \N{GRINNING FACE}) <p> in it </p> <SEG>."


@pytest.fixture
def predictor() -> MimoPredictor:
    predictor = MimoPredictor(talkative())
    predictor.set_image(np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8))
    return predictor


def test_pieces_make_the_text_and_no_character_is_cut() -> None:
    ids = [*TOKENIZER(TEXT, add_special_tokens=False)["input_ids"], TOKENIZER.eos_token_id, TOKENIZER.pad_token_id]
    pieces: list[str] = []
    stream = TextStream(TOKENIZER, pieces.append)
    for token in ids:
        stream(torch.tensor([token]))
    stream.finish()
    text = "I see the liver, and a spot (7 \N{MICRO SIGN}m, \N{GRINNING FACE}) in it."
    assert "".join(pieces) == text == parse_answer(ids, TOKENIZER)[0]
    assert len(pieces) > 10
    assert all(pieces)
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)


def test_half_a_character_at_the_end_is_sent_at_last() -> None:
    ids = TOKENIZER("so \N{GRINNING FACE}", add_special_tokens=False)["input_ids"][:-1]
    pieces: list[str] = []
    stream = TextStream(TOKENIZER, pieces.append)
    stream(torch.tensor(ids))
    assert pieces == []
    stream.finish()
    assert "".join(pieces) == parse_answer(ids, TOKENIZER)[0]


def test_ask_and_stream_give_the_same(predictor: MimoPredictor) -> None:
    question, prompts = "What lies at <point>?", {"points": [(5, 6)]}
    asked = predictor.ask(question, **prompts).to_json()
    called: list[str] = []
    predictor.ask(question, **prompts, on_text=called.append)
    *pieces, answer = predictor.stream(question, **prompts)
    assert isinstance(answer, Answer)
    assert answer.to_json() == asked
    assert "".join(pieces) == "".join(called) == answer.text
    assert len(pieces) > 3


def test_closing_the_iterator_ends_the_writing(predictor: MimoPredictor) -> None:
    written: list[torch.Tensor] = []
    answer = predictor.model.answer

    def counted(*args: object, on_tokens: object, **options: object) -> object:
        return answer(*args, on_tokens=lambda t: (written.append(t), on_tokens(t)), **options)

    predictor.model.answer = counted
    stream = predictor.stream("What?", max_tokens=4000)
    next(stream)
    stream.close()
    assert len(written) < 4000
    assert not any(thread.name == "mimo-writer" for thread in threading.enumerate())


def test_errors_come_out_where_the_stream_is_read(predictor: MimoPredictor) -> None:
    with pytest.raises(InputError, match="question"):
        list(predictor.stream(" "))
    with pytest.raises(InputError, match="set_image"):
        list(MimoPredictor(make_nano()).stream("What?"))
