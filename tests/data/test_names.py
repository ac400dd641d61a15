"""Known names are found however they are typed, and other words are left alone."""

from __future__ import annotations

import json
import pickle
import string
import subprocess
import sys
from functools import cache
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.sr._concepts_dict import concepts

from monai_mimo.data.names import KnownNames, Mention, other_terms, plain_nouns
from monai_mimo.mimoseg.catalogue.vocabulary import standard_name, vocabulary

SMALL = KnownNames(
    {
        "liver": ["hepar"],
        "left kidney": [],
        "right kidney": [],
        "kidney": ["renes"],
        "lung": [],
        "lung tumor": ["lung cancer"],
        "inferior vena cava": ["IVC"],
        "L1 vertebra": ["L1"],
        "polyp": [],
        "nerve": [],
        "heart": [],
        "esophagus": [],
        "grey matter": [],
        "retinal artery": [],
        "retinal vein": [],
        "Barrett esophagus": ["Barrett's esophagus"],
        "gallbladder": [],
        "vertebra": [],
    }
)


@cache
def packaged() -> KnownNames:
    return KnownNames({name: entity.synonyms for name, entity in vocabulary().items()})


def named(text: str, names: KnownNames = SMALL) -> list[str]:
    return [mention.canonical for mention in names.find(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Where is the liver?", ["liver"]),
        ("HEPAR!", ["liver"]),
        ("the liver's edge", ["liver"]),
        ("both kidneys", ["kidney"]),
        ("left_kidney, right-kidney", ["left kidney", "right kidney"]),
        ("the left and right kidneys", ["left kidney", "right kidney"]),
        ("the left and the right kidney", ["left kidney", "right kidney"]),
        ("retinal arteries and veins", ["retinal artery", "retinal vein"]),
        ("is the IVC or the inferior vena cava there", ["inferior vena cava", "inferior vena cava"]),
        ("L1, L 1 and vertebrae", ["L1 vertebra", "L1 vertebra", "vertebra"]),
        ("lung tumours, tumor of the lung, cancers in the lung", ["lung tumor"] * 3),
        ("Barretts esophagus and Barrett's oesophagus", ["Barrett esophagus"] * 2),
        ("gray matter, greymatter", ["grey matter"] * 2),
        ("gall bladder", ["gallbladder"]),
        ("lnug, kindey, livr, hearrt, gallbaldder", ["lung", "kidney", "liver", "heart", "gallbladder"]),
        ("live long, never heard, polish, delivery", []),
        ("heart valve, liver cyst, apex of the heart, lung abscesses", []),
        ("the optic nerve, optical nerves", ["nerve"]),
        ("liver, cyst; gallbladder. Polyp", ["liver", "gallbladder", "polyp"]),
        ("gallbladder polyp, gallbladder  polyps", []),
        ("Où est le foie? Wo ist die Leber? 肝臓", []),
        ("", []),
    ],
)
def test_what_is_named(text: str, expected: list[str]) -> None:
    assert named(text) == expected


def test_mentions_say_where_and_whether_a_typing_error_was_mended() -> None:
    text = "Show the left kindey and the oesophagus."
    assert SMALL.find(text) == [Mention((9, 20), "left kidney", False), Mention((29, 39), "esophagus", True)]


def test_normalised_texts_hold_canonical_names_where_the_mentions_say() -> None:
    text, mentions = SMALL.normalise("IVC, lungs and the hepar's edge")
    assert text == "inferior vena cava, lung and the liver's edge"
    assert [text[slice(*m.span)] for m in mentions] == [m.canonical for m in mentions]


def test_a_word_that_may_be_two_names_is_neither() -> None:
    names = KnownNames({"ileum": [], "hilum": []})
    assert named("ilum", names) == []
    assert named("hilum ileum", names) == ["hilum", "ileum"]


def test_names_survive_json() -> None:
    again = KnownNames.from_json(SMALL.to_json())
    assert again.names == SMALL.names
    assert again.find("lungs and hepar") == SMALL.find("lungs and hepar")
    assert list(json.loads(SMALL.to_json())) == list(SMALL.names)


def test_names_can_be_sent_to_another_process() -> None:
    again = pickle.loads(pickle.dumps(SMALL))
    assert again.find("lnug and hepar") == SMALL.find("lnug and hepar") != []


def test_names_need_no_builder() -> None:
    """Weights carry names, and inference must not import what builds data sets."""
    code = "import sys, monai_mimo.data.names; print(*(name for name in sys.modules if name.startswith('monai_mimo')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "monai_mimo.data.names" in done.stdout
    assert "mimoseg" not in done.stdout


@pytest.mark.parametrize("text", ["[]", '{"liver": "hepar"}', "liver"])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"synonyms|JSON|Expecting"):
        KnownNames.from_json(text)


@pytest.mark.parametrize("names", [{"liver": ["!"]}, {"liver": ["hepar"], "lung": ["Hepar"]}])
def test_names_without_words_or_with_two_owners_are_refused(names: dict[str, list[str]]) -> None:
    with pytest.raises(ValueError, match=r"[Hh]epar|no word"):
        KnownNames(names)


def test_every_name_and_synonym_is_found() -> None:
    for name, entity in vocabulary().items():
        for text in (name, *entity.synonyms):
            assert named(f"Where is the {text.upper()}?", packaged()) == [name]


def one_edit(word: str) -> set[str]:
    """All that is one letter more, less or other, or two letters that changed places."""
    cuts = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    letters = string.ascii_lowercase
    made = {a + c + b for a, b in cuts for c in letters} | {a + c + b[1:] for a, b in cuts if b for c in letters}
    made |= {a + b[1:] for a, b in cuts if b} | {a + b[1] + b[0] + b[2:] for a, b in cuts if len(b) > 1}
    return made - {word}


def typing_errors() -> list[tuple[str, str]]:
    """(name, the name with one typing error) for each word of five letters or more of each name."""
    found = []
    for name in vocabulary():
        words = name.lower().split()
        for at, word in enumerate(words):
            if len(word) >= 5 and word.isalpha():
                found += [(name, " ".join([*words[:at], bad, *words[at + 1 :]])) for bad in sorted(one_edit(word))]
    return found


TYPED = typing_errors()


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(TYPED))
def test_a_mended_typing_error_is_of_its_name(typed: tuple[str, str]) -> None:
    name, text = typed
    assert {mention.canonical for mention in packaged().find(text) if not mention.exact} <= {name}


def test_nearly_all_typing_errors_are_mended() -> None:
    """A fixed thirtieth of all of them."""
    sample = TYPED[::30]
    right = sum(named(f"Is the {text} there?", packaged()) == [name] for name, text in sample)
    assert len(sample) > 2000
    assert right / len(sample) >= 0.95


def test_no_other_word_becomes_a_name() -> None:
    """Nouns and terms of our own, and what DICOM's code dictionaries call thousands of things: no typing error is seen in
    any of them. (These are: breeds of cattle and a dog, an island, and a true typing error of the dictionary.)"""
    dictionary = {meaning for scheme in concepts.values() for entry in scheme.values() for meaning, _ in entry.values()}
    true = {"Aosta", "Coton", "Timor", "vertrebrae"}
    texts = [*plain_nouns(), *other_terms(), *sorted(dictionary)]
    mended = [text[slice(*mention.span)] for text in texts for mention in packaged().find(text) if not mention.exact]
    assert len(texts) > 5000
    assert set(mended) <= true


def test_other_terms_are_no_known_names() -> None:
    terms = [term for term in chain(plain_nouns(), other_terms()) if standard_name(term) is None]
    assert len(terms) > 2300
    assert [(term, named(term, packaged())) for term in terms if named(term, packaged())] == []


@given(st.text(max_size=60))
def test_any_text_can_be_read(text: str) -> None:
    for mention in SMALL.find(text):
        assert text[slice(*mention.span)].strip() == text[slice(*mention.span)] != ""


@given(st.lists(st.sampled_from(sorted(SMALL.names)), max_size=4))
def test_names_in_a_row_are_all_found(names: list[str]) -> None:
    text = "; ".join(names)
    assert named(text) == names
    assert SMALL.normalise(text)[0] == text
