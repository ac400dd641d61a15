"""What frozen encoders make of images, kept on disk: computed once, memory-mapped, shared by all processes.

A store is a folder of safetensors files, each with the maps of some images in bfloat16 and the keys of those images. Each file
is atomic, so a store that was interrupted is simply one with fewer images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import DataError
from ..files import atomic_file

KEYS = "keys"
KEY_BYTES = 16


class EncoderMaps(NamedTuple):
    """Feature maps as the encoders give them, before any trained layer: of each encoder a list from fine to coarse, each
    [B, C, h, w], or [C, h, w] of a single image.

    Attributes:
        image: of the image encoder; segmentation: of the segmentation encoder, empty where one encoder serves both.
    """

    image: list[Tensor]
    segmentation: list[Tensor]

    def to(self, *args: Any, **kwargs: Any) -> EncoderMaps:
        """Each map's `Tensor.to`."""
        return EncoderMaps(*([m.to(*args, **kwargs) for m in maps] for maps in self))

    @classmethod
    def stack(cls, items: Sequence[EncoderMaps]) -> EncoderMaps:
        """Maps of single images -> a batch."""
        return cls(*([torch.stack(maps) for maps in zip(*(item[part] for item in items))] for part in range(2)))


def image_key(encoded: bytes) -> bytes:
    """What an image is known by, wherever it lies: a hash of its PNG or JPEG bytes."""
    return hashlib.blake2b(encoded, digest_size=KEY_BYTES).digest()


class FeatureCache:
    """One store.

    Args:
        folder: for the maps of one set of encoders at one image size; `engines.encode_once` names it by their hash.

    Raises:
        DataError: a file in it cannot be read.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._shards: dict[str, Any] = {}
        self._places: dict[bytes, tuple[str, int]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take in what other processes have written since."""
        for file in sorted(self.folder.glob("*.safetensors")):
            if file.name not in self._shards:
                try:
                    shard = safe_open(file, framework="pt")
                    keys = shard.get_tensor(KEYS).numpy()
                except (OSError, SafetensorError) as error:
                    raise DataError(
                        file, str(error), "a file of encoder maps; remove it, and it is made anew"
                    ) from error
                self._shards[file.name] = shard
                self._places.update({key.tobytes(): (file.name, row) for row, key in enumerate(keys)})

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def __getitem__(self, key: bytes) -> EncoderMaps:
        """The maps of one image, bfloat16 [C, h, w] each."""
        name, row = self._places[key]
        shard = self._shards[name]
        maps = EncoderMaps([], [])
        for tensor in sorted(set(shard.keys()) - {KEYS}):
            part, _ = tensor.split(".")
            getattr(maps, part).append(shard.get_slice(tensor)[row])
        return maps

    def add(self, keys: Sequence[bytes], maps: EncoderMaps) -> None:
        """Write the maps [n, C, h, w] of n images as one file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            f"{part}.{level:02d}": m.to("cpu", torch.bfloat16).contiguous()
            for part, levels in maps._asdict().items()
            for level, m in enumerate(levels)
        }
        tensors[KEYS] = torch.frombuffer(bytearray(b"".join(keys)), dtype=torch.uint8).view(len(keys), KEY_BYTES)
        name = hashlib.blake2b(b"".join(keys), digest_size=KEY_BYTES).hexdigest()
        with atomic_file(self.folder / f"{name}.safetensors") as file:
            save_file(tensors, file)
        self.refresh()
