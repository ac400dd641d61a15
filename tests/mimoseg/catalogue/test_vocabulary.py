import pydicom
import pytest
from pydicom.sr._concepts_dict import concepts

from monai_mimo.data.names import KnownNames
from monai_mimo.errors import DataError
from monai_mimo.mimoseg.catalogue.vocabulary import load_vocabulary, standard_name, vocabulary, with_synonyms

WHOLE = int(pydicom.__version__.split(".")[0]) >= 3  # the dictionary of pydicom 2 is older and lacks dozens of codes
# Codes that pydicom's dictionary does not have, from the SNOMED CT mapping that TotalSegmentator publishes for its labels.
TOTALSEGMENTATOR = {
    "portal and splenic veins": "110765007",
    "gluteus maximus": "181674001",
    "gluteus medius": "78333006",
    "gluteus minimus": "75297007",
    "autochthonous back muscles": "244849004",
    "iliopsoas muscle": "68455001",
    "rib 1": "48535007",
    "rib 2": "78247007",
    "rib 3": "25888004",
    "rib 4": "25523003",
    "rib 5": "15339008",
    "rib 6": "59558009",
    "rib 7": "24915002",
    "rib 8": "5953002",
    "rib 9": "22565002",
    "rib 10": "77644006",
    "rib 11": "58830002",
    "rib 12": "43993008",
}


def snomed_meanings() -> dict[str, set[str]]:
    meanings: dict[str, set[str]] = {}
    for entries in concepts["SCT"].values():
        for code, (meaning, _) in entries.items():
            meanings.setdefault(code, set()).add(meaning.lower())
    return meanings


def test_every_code_is_in_a_published_dictionary_under_that_name():
    meanings, found = snomed_meanings(), 0
    for name, entity in vocabulary().items():
        if not entity.snomed:
            continue
        bare = name.removeprefix("left ").removeprefix("right ")
        if bare in TOTALSEGMENTATOR:
            assert entity.snomed == TOTALSEGMENTATOR[bare], name
            continue
        if not WHOLE and entity.snomed not in meanings:
            continue
        found += 1
        texts = " ".join(meanings[entity.snomed])
        # The dictionary calls the small bowel "small intestine", the optic disc a "structure", and so on: one word is shared.
        words = {word for text in (name, *entity.synonyms) for word in text.lower().split()} - {
            "of",
            "the",
            "left",
            "right",
        }
        assert any(word in texts for word in words), (name, texts)
    assert found > 60


@pytest.mark.skipif(not WHOLE, reason="pydicom 2 has no codes of single vertebrae")
def test_levels_have_the_code_of_their_level():
    meanings = snomed_meanings()
    for name, entity in vocabulary().items():
        if entity.family == "vertebra" and entity.snomed:
            assert name.lower() in meanings[entity.snomed], name


def test_families_are_not_nested():
    names = vocabulary()
    assert all(not names[entity.family].family for entity in names.values() if entity.family)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("liver", "liver"),
        ("kidney_left", "left kidney"),
        ("Left Kidneys", "left kidney"),
        ("Kidney Tumour", "kidney tumor"),
        ("vertebrae_L1", "L1 vertebra"),
        ("rib_right_12", "right rib 12"),
        ("heart_atrium_left", "left atrium"),
        ("lung_middle_lobe_right", "right middle lung lobe"),
        ("iliac_vena_right", "right iliac vein"),
        ("autochthon_left", "left autochthonous back muscles"),
        ("Respiratory Tract", "airway"),
        ("bladder", "urinary bladder"),
        ("unicorn", None),
        ("", None),
    ],
)
def test_standard_name(text: str, expected: str | None):
    assert standard_name(text) == expected


def test_standard_name_of_every_name_and_synonym():
    for name, entity in vocabulary().items():
        for text in (name, *entity.synonyms):
            assert standard_name(text.upper().replace(" ", "_")) == name


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("liver: {}\nhepar: { synonyms: [Liver] }", "'Liver' of both 'liver' and 'hepar'"),
        ("left eye: { family: eye }", "left eye: family 'eye'"),
        ("liver: { synonym: [hepar] }", "synonym"),
        ("- liver", "list"),
        ("liver: [", "while parsing"),
    ],
)
def test_faults_are_named(tmp_path, text: str, found: str):
    file = tmp_path / "vocabulary.yaml"
    file.write_text(text)
    with pytest.raises(DataError) as error:
        load_vocabulary(file)
    assert found in error.value.found


def test_names_come_with_their_synonyms():
    found = with_synonyms(["hepar", "pulmonary vessel", "gizzard", "brain tumor", "glioma", "airway", "windpipe"])
    assert found["hepar"] == ("liver",)
    assert "lung vessel" in found["pulmonary vessel"]
    assert found["gizzard"] == found["glioma"] == ()
    assert found["windpipe"] == ("trachea",)


def test_synonyms_of_the_whole_vocabulary_make_known_names():
    names = KnownNames(with_synonyms(vocabulary()))
    assert [m.canonical for m in names.find("hepar, IVC, oesophagus")] == ["liver", "inferior vena cava", "esophagus"]


def test_of_two_names_of_one_thing_the_first_has_the_synonyms():
    found = with_synonyms(["inferior vena cava", "postcava"])
    assert "IVC" in found["inferior vena cava"]
    assert found["postcava"] == ()
    KnownNames(found)
