"""Starting a model from parts of another one that was trained before."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from ..errors import WeightsError
from ..models import Mimo

logger = logging.getLogger(__name__)


def take_over(model: Mimo, folder: str | Path, parts: Sequence[str]) -> None:
    """Copy into `model` the tensors of another model that have the same name and shape, in place.

    Args:
        model: whose own values stay where the other has nothing that fits.
        folder: a weights folder.
        parts: the attributes of `Mimo` to copy, such as "image_encoder" and "mask_decoder".

    Raises:
        WeightsError: the folder cannot be read, or a part has nothing that fits.
    """
    state, own = Mimo.from_pretrained(folder).state_dict(), model.state_dict()
    fitting = {
        name: tensor
        for name, tensor in state.items()
        if name.split(".")[0] in parts and name in own and own[name].shape == tensor.shape
    }
    empty = set(parts) - {name.split(".")[0] for name in fitting}
    if empty:
        raise WeightsError(folder, f"no tensor of {', '.join(sorted(empty))} that fits", "weights of a similar preset")
    model.load_state_dict(fitting, strict=False)
    logger.info("taken over from %s: %d tensors of %s", folder, len(fitting), ", ".join(parts))
