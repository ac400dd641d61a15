"""Sharing weights folders through the Hugging Face Hub."""

from __future__ import annotations

import json
import math
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, HfApi, ModelCardData, snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

try:  # what huggingface_hub asks with: from its version 2 on httpx2
    from httpx2 import TransportError
except ImportError:
    from httpx import TransportError  # type: ignore[assignment]

from ..errors import OutputError, WeightsError
from ..files import write_json
from .config import MimoConfig
from .training_data import TrainingData

OFFLINE = (OfflineModeIsEnabled, LocalEntryNotFoundError, TransportError, OSError)
CARD = "README.md"
PLACE = re.compile(r"(~|/|\\\\|[A-Za-z]:[\\/])\S*[\\/]?\S")  # of a file system; a text that starts with one
PLACES = ("source", "base_model_name_or_path", "name_or_path", "_name_or_path", "_model_name_or_path")
BASE_MODELS = {  # of what comes in packages, by its name in a configuration: the same weights on the Hub
    "smollm2-135m-instruct": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "efficientnet-lite0": "timm/tf_efficientnet_lite0.in1k",
}


def upload(
    weights: Path,
    repository: str,
    *,
    private: bool = True,
    token: str | None = None,
    facts: Mapping[str, Any] | None = None,
) -> str:
    """Upload a weights folder to OWNER/NAME, which is made if it is not there: with a model card, and without paths of this
    machine (`write_hub_folder`, which says what `facts` are).

    Returns:
        the address of the commit.

    Raises:
        OutputError: there is no network, or the Hub refuses.
        WeightsError: the figures in `facts` are of other weights.
    """
    with tempfile.TemporaryDirectory() as work:
        folder = write_hub_folder(weights, Path(work) / "weights", facts, repository)
        return _upload(folder, repository, private, token)


def _upload(folder: Path, repository: str, private: bool, token: str | None) -> str:
    api = HfApi(token=token)
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Add MIMO weights"))
    except HfHubHTTPError as error:
        raise OutputError(f"{repository} on the Hub", str(error), "leave to write there: `hf auth login`") from error
    except OFFLINE as error:
        raise OutputError(
            f"{repository} on the Hub",
            f"no connection ({type(error).__name__})",
            "a network; or save_pretrained(DIR) here, and `hf upload` from where there is one",
        ) from error


def download(repository: str) -> Path:
    """The weights folder of a repository OWNER/NAME, from the cache if it is there.

    Raises:
        WeightsError: there is none, or no network to get it from.
    """
    try:
        return Path(snapshot_download(repository))
    except RepositoryNotFoundError as error:
        raise WeightsError(repository, "no such folder, and no such repository on the Hub", "one of them") from error
    except (HfHubHTTPError, *OFFLINE) as error:
        found = f"no such folder, and the Hub cannot be asked ({type(error).__name__})"
        raise WeightsError(repository, found, "a weights folder, or a network") from error


def write_hub_folder(
    weights: Path, folder: Path, facts: Mapping[str, Any] | None = None, repository: str = "OWNER/NAME"
) -> Path:
    """Copy `weights` to `folder`, which does not exist yet; add a card, and take paths down to their last name.

    A frozen model on this machine is then named as `vicuna-7b-v1.5` and by its hash; who loads the weights says where it is.

    Args:
        facts: `license` (an identifier of the Hub; "other" without it), `datasets` (names) and `measured` (what
            `benchmarks/real_quality.py` found of these weights: one entry of docs/model-card.json); all may be missing.
        repository: where it will be, for the lines of code on the card.

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
    (folder / CARD).write_text(card_text(config, found, facts, TrainingData.load(weights), repository))
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


def card_text(config: MimoConfig, found: str, facts: Mapping[str, Any], learned: TrainingData, repository: str) -> str:
    """A model card: the Hub's YAML header, with figures as its model-index, and a page."""
    measured = facts.get("measured") or {}
    data = ModelCardData(
        license=facts.get("license", "other"),
        library_name="monai-mimo",
        pipeline_tag="image-text-to-text",
        tags=["medical", "monai", "segmentation", "grounding"],
        language="en",
        datasets=facts.get("datasets") or sorted(learned.sets) or None,
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
**Research only; not for diagnosis.** The weights may be used as the data sets that they learned from allow; together:
{learned.strictest}.

{licence_list(learned)}

```python
from monai_mimo.inference import MimoPredictor

predictor = MimoPredictor.from_pretrained("{repository}")
predictor.set_image("image.png")
print(predictor.ask("Where is the lung?").text)
```
"""


def licence_list(learned: TrainingData) -> str:
    """The sets with their licences, a line for each."""
    return "\n".join(f"- {name}: {licence}" for name, licence in learned.sets.items())


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
