"""metadata.json and the bundle's papers, held against MONAI's list of properties, the lock, and the measured figures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from monai.bundle import ConfigParser
from monai.bundle.properties import InferProperties, MetaProperties
from monai.bundle.utils import ID_SEP_KEY

from ..project.test_locks import locked

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "mimo"
METADATA = json.loads((BUNDLE / "configs" / "metadata.json").read_text())

TENSOR = {
    "type": "object",
    "required": ["type", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data", "channel_def"],
    "properties": {
        "type": {"type": "string"},
        "format": {"type": "string"},
        "modality": {"type": "string"},
        "num_channels": {"type": "integer", "minimum": 1},
        "spatial_shape": {"type": "array", "items": {"type": ["integer", "string"]}},
        "dtype": {"type": "string"},
        "value_range": {"type": "array", "items": {"type": "number"}},
        "is_patch_data": {"type": "boolean"},
        "channel_def": {
            "type": "object",
            "patternProperties": {r"^\d+$": {"type": "string"}},
            "additionalProperties": False,
        },
    },
}
TEXTS = ("schema", "task", "description", "authors", "copyright", "name")
# After MONAI's bundle specification: what it calls mandatory, and the types of what it calls optional.
SCHEMA = {
    "type": "object",
    "required": [
        "version", "changelog", "monai_version", "pytorch_version", "numpy_version", "required_packages_version", "task",
        "description", "authors", "copyright", "network_data_format",
    ],
    "properties": {
        **{name: {"type": "string", "minLength": 1} for name in TEXTS},
        **{f"{name}_version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"} for name in ("monai", "pytorch", "numpy")},
        "version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
        "changelog": {"type": "object", "additionalProperties": {"type": "string"}},
        "required_packages_version": {"type": "object", "additionalProperties": {"type": "string"}},
        "supported_apps": {"type": "object"},
        "eval_metrics": {"type": "object", "additionalProperties": {"type": "number"}},
        "references": {"type": "array", "items": {"type": "string"}},
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "properties": {name: {"type": "object", "additionalProperties": TENSOR} for name in ("inputs", "outputs")},
        },
    },
}  # fmt: skip


def test_metadata_fits_the_specification() -> None:
    jsonschema.validate(METADATA, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**METADATA, "version": "newest"}, SCHEMA)
    for name, about in MetaProperties.items():
        entry = METADATA
        for part in about["id"].removeprefix("_meta_").strip(ID_SEP_KEY).split(ID_SEP_KEY):
            assert not about["required"] or part in entry, name
            entry = entry.get(part, {})


def test_inference_has_the_properties_that_monai_asks_for() -> None:
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "inference.yaml"))
    for name, about in InferProperties.items():
        if about["required"]:
            assert about["id"].split(ID_SEP_KEY)[0] in parser.get(), name
    assert {"inferer", "output_dir", "preprocessing", "postprocessing", "evaluator", "dataset"} <= set(parser.get())


def test_versions_are_those_of_the_lock() -> None:
    versions = locked("label", "3.11")
    asked = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
    assert {name: METADATA[key] for name, key in asked.items()} == {name: versions[name] for name in asked}
    others = {name: v for name, v in METADATA["required_packages_version"].items() if name != "monai-mimo"}
    assert others == {name: versions[name] for name in others}


def test_figures_are_those_that_were_measured() -> None:
    card = json.loads((ROOT / "docs" / "model-card.json").read_text())["lite"]
    expected = {f"mean_dice_{name.lower()}_by_name": e["by name (I)"]["value"] for name, e in card["dice"].items()}
    expected["f1_by_name"] = card["all"]["F1, by name (I)"]["value"]
    assert METADATA["eval_metrics"] == {name: round(value, 3) for name, value in expected.items()}
    readme = (BUNDLE / "docs" / "README.md").read_text()
    for name, entries in card["dice"].items():
        assert f"| {name} | {entries['by name (I)']['value']:.3f} | {entries['box (II)']['value']:.3f} |" in readme


def test_the_papers_of_the_zoo() -> None:
    readme = (BUNDLE / "docs" / "README.md").read_text()
    headings = re.findall(r"^#+ (.+)$", readme, re.MULTILINE)
    for heading in (
        "Model Overview",
        "Data",
        "Training configuration",
        "Input",
        "Output",
        "Performance",
        "MONAI Bundle Commands",
    ):
        assert heading in headings
    assert {"References", "License"} <= set(headings)
    for file in re.findall(r"configs/(\w+\.\w+)", readme):
        assert (BUNDLE / "configs" / file).exists(), file
    assert (BUNDLE / "docs" / "data_license.txt").exists()
    assert (BUNDLE / "LICENSE").exists()


def test_the_entry_for_models_on_the_hub() -> None:
    """What it says is what the bundle says; its keys are those that the zoo's entries have."""
    folder = ROOT / "bundles" / "hf_models" / "mimo"
    entry = json.loads((folder / "metadata.json").read_text())
    same = {"version", "changelog", "monai_version", "pytorch_version", "numpy_version", "name", "task", "description"}
    same |= {"copyright", "data_source", "data_type", "image_classes", "intended_use", "references"}
    assert {name: entry[name] for name in same} == {name: METADATA[name] for name in same}
    own = {"schema", "required_packages_version", "authors", "huggingface_model_id", "huggingface_url"}
    assert entry.keys() == same | own
    assert entry["huggingface_url"] == f"https://huggingface.co/{entry['huggingface_model_id']}"
    packages = {**METADATA["required_packages_version"], "torch": METADATA["pytorch_version"]}
    assert entry["required_packages_version"].items() <= packages.items()
    assert f'from_pretrained("{entry["huggingface_model_id"]}")' in (folder / "README.md").read_text()
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_evaluating_takes_the_shipped_weights_where_there_are_no_others(tmp_path: Path) -> None:
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "evaluate.yaml"))
    parser["bundle_root"] = str(tmp_path)
    assert Path(parser.get_parsed_content("weights_dir")).name == "lite"
    (tmp_path / "models" / "weights").mkdir(parents=True)
    again = ConfigParser()
    again.read_config(str(BUNDLE / "configs" / "evaluate.yaml"))
    again["bundle_root"] = str(tmp_path)
    assert again.get_parsed_content("weights_dir") == str(tmp_path / "models" / "weights")
