"""A weights folder as it goes to the Hugging Face Hub: with a model card, and without the places of this machine."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from ..errors import WeightsError
from ..files import write_json
from .config import MimoConfig

CARD = "README.md"
PLACE = re.compile(r"(~|/|\\\\|[A-Za-z]:[\\/])\S*[\\/]?\S")  # of a file system; a text that starts with one
PLACES = ("source", "base_model_name_or_path", "name_or_path", "_name_or_path", "_model_name_or_path")
BASE_MODELS = {  # of what comes in packages, by its name in a configuration: the same weights on the Hub
    "smollm2-135m-instruct": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "efficientnet-lite0": "timm/tf_efficientnet_lite0.in1k",
}


def write_hub_folder(weights: Path, folder: Path, facts: Mapping[str, Any] | None = None) -> Path:
    """Copy `weights` to `folder`, which does not exist yet; add a card, and take paths down to their last name.

    A frozen model on this machine is then named as `vicuna-7b-v1.5` and by its hash; who loads the weights says where it is.

    Args:
        facts: `license` (an identifier of the Hub; "other" without it), `datasets` (names) and `measured` (what
            `benchmarks/real_quality.py` found of these weights: one entry of docs/model-card.json); all may be missing.

    Raises:
        WeightsError: `measured` is of other weights.
    """
    from .weights import CONFIG, fingerprint, read_config  # it pushes by this module

    config, _ = read_config(weights)
    facts = facts or {}
    measured = facts.get("measured") or {}
    found = fingerprint(weights)
    if measured and measured["weights"].rsplit("@")[-1] != found:
        raise WeightsError(weights, f"the hash {found}", f"the weights that were measured, {measured['weights']}")
    shutil.copytree(weights, folder)
    for file in (folder / CONFIG, *folder.glob("*/*_config.json")):
        write_json(file, without_places(json.loads(file.read_text())), indent=2)
    (folder / CARD).write_text(card_text(config, found, facts))
    return folder


def without_places(value: Any, key: str = "") -> Any:
    """JSON values in which a path, absolute or under a name that stands for one, is its last name alone."""
    if isinstance(value, dict):
        return {name: without_places(part, name) for name, part in value.items()}
    if isinstance(value, list):
        return [without_places(part, key) for part in value]
    if isinstance(value, str) and (PLACE.fullmatch(value) or (key in PLACES and re.search(r"[\\/]", value))):
        return re.split(r"[\\/]", value.rstrip("\\/"))[-1]
    return value


def card_text(config: MimoConfig, found: str, facts: Mapping[str, Any]) -> str:
    """A model card: the Hub's YAML header, with figures as its model-index, and a page."""
    measured = facts.get("measured") or {}
    data = ModelCardData(
        license=facts.get("license", "other"),
        library_name="monai-mimo",
        pipeline_tag="image-text-to-text",
        tags=["medical", "monai", "segmentation", "grounding"],
        language="en",
        datasets=facts.get("datasets") or sorted(measured.get("dice", {})) or None,
        base_model=base_models(config) or None,
        model_name=f"MIMO {config.preset}",
        eval_results=eval_results(measured) or None,
    )
    names = ", ".join(sorted(config.names)) if config.names else ""
    knows = f"They know: {names}.\n" if names else ""
    return f"""---
{data.to_yaml()}
---

# MIMO {config.preset}

Weights {found} of monai-mimo (`pip install monai-mimo`): ask about a medical image with a click or a box, and get an answer whose
phrases are tied to masks. {knows}
**Research only; not for diagnosis.** The weights may be used as the data sets that they learned from allow.

```python
from monai_mimo.inference import MimoPredictor

predictor = MimoPredictor.from_pretrained("OWNER/NAME")  # of this page
predictor.set_image("image.png")
print(predictor.ask("Where is the lung?").text)
```
"""


def base_models(config: MimoConfig) -> list[str]:
    """The Hub's names of pretrained models that the weights started from, as far as they are known."""
    encoder = config.image_encoder.name if config.image_encoder and config.image_encoder.pretrained else None
    named = (config.language_model.source, encoder)
    return [BASE_MODELS[name] for name in named if name in BASE_MODELS]


def eval_results(measured: Mapping[str, Any]) -> list[EvalResult]:
    """Dice by set and kind of question, and the figures over all sets; those that are numbers."""
    named = [
        (name, "dice", f"Dice, {kind}", entry)
        for name, kinds in measured.get("dice", {}).items()
        for kind, entry in kinds.items()
    ]
    named += [("all sets", metric_type(name), name, entry) for name, entry in measured.get("all", {}).items()]
    return [
        EvalResult(
            task_type="image-segmentation",
            dataset_type=re.sub(r"\W+", "_", dataset).lower(),
            dataset_name=dataset,
            metric_type=kind,
            metric_name=title,
            metric_value=round(entry["value"], 4),
        )
        for dataset, kind, title, entry in named
        if math.isfinite(entry["value"])
    ]


def metric_type(name: str) -> str:
    """The Hub's identifier of a metric over all sets."""
    return "f1" if name.startswith("F1") else "accuracy"
