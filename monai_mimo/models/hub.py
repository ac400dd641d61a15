"""Sharing weights folders through the Hugging Face Hub."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
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
from .hub_folder import write_hub_folder

OFFLINE = (OfflineModeIsEnabled, LocalEntryNotFoundError, TransportError, OSError)


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
        return _upload(write_hub_folder(weights, Path(work) / "weights", facts), repository, private, token)


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
