"""Frozen encoders are run once over a set, and training reads what they gave from disk."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from datasets import Dataset as Rows
from datasets import Image
from PIL import Image as Picture
from tqdm import tqdm

from ..data.dataset import rows_by_image
from ..data.feature_cache import EncoderMaps, FeatureCache, image_key
from ..errors import InputError
from ..files import digest
from ..models import Mimo
from ..transforms.resize import SquareResize

logger = logging.getLogger(__name__)
FILE_BYTES = 256 << 20  # of a file of the store, about; this much is computed again after an interruption


def encode_once(
    model: Mimo, rows: Rows, folder: str | Path, images_per_batch: int = 16, file_bytes: int = FILE_BYTES
) -> FeatureCache:
    """The maps of all images of `rows` by the frozen encoders of `model`, from the store in `folder`; those that are not
    there yet are computed now, each process its part. All processes must call it.

    Args:
        images_per_batch: how many images the encoders take at once.
        file_bytes: how large the files of the store get.

    Raises:
        InputError: an encoder is trained, so its maps change; the disk is too small for the store.
    """
    for name in ("image_encoder", "segmentation_encoder"):
        part = getattr(model, name)
        if part is not None and any(p.requires_grad for p in part.parameters()):
            raise InputError("feature cache", f"a trained {name}", "encoders that are frozen")
    store = FeatureCache(Path(folder) / encoders_hash(model))
    encoded = rows.cast_column("image", Image(decode=False))
    missing = [first for first, *_ in rows_by_image(rows) if image_key(encoded[first]["image"]["bytes"]) not in store]
    idist.barrier()  # before anything is written, so that all processes divide the same images
    mine = missing[idist.get_rank() :: idist.get_world_size()]
    if mine:
        logger.info("encoding %d of %d images into %s", len(mine), len(missing), store.folder)
        _check_room(model, store.folder, len(missing))
        _encode(model, encoded, mine, store, images_per_batch, file_bytes)
    idist.barrier()
    store.refresh()
    return store


@torch.no_grad()
def _encode(
    model: Mimo, encoded: Rows, numbers: list[int], store: FeatureCache, images_per_batch: int, file_bytes: int
) -> None:
    device = next(model.parameters()).device
    keys: list[bytes] = []
    batches: list[EncoderMaps] = []
    for batch in tqdm(
        list(_chunks(numbers, images_per_batch)), desc="encoding", unit="batch", disable=idist.get_rank() > 0
    ):
        files = [encoded[number]["image"]["bytes"] for number in batch]
        images = torch.stack([square(file, model.config.image_size) for file in files])
        batches.append(model.encoder_maps(images.to(device)).to("cpu", torch.bfloat16))
        keys += map(image_key, files)
        if _bytes(batches) >= file_bytes or batch[-1] == numbers[-1]:
            store.add(keys, _join(batches))
            keys, batches = [], []


def square(encoded: bytes, side: int) -> torch.Tensor:
    """A PNG or JPEG as the model reads it, [3, S, S]."""
    pixels = np.asarray(Picture.open(io.BytesIO(encoded)).convert("RGB"))
    return SquareResize(*pixels.shape[:2], side).image(pixels)


def _chunks(numbers: list[int], size: int) -> Iterator[list[int]]:
    return (numbers[start : start + size] for start in range(0, len(numbers), size))


def _join(batches: list[EncoderMaps]) -> EncoderMaps:
    return EncoderMaps(*([torch.cat(maps) for maps in zip(*(batch[part] for batch in batches))] for part in range(2)))


def _bytes(batches: list[EncoderMaps]) -> int:
    return sum(m.nbytes for batch in batches for maps in batch for m in maps)


@torch.no_grad()
def _check_room(model: Mimo, folder: Path, images: int) -> None:
    """Whether the maps of so many images have room where `folder` is.

    Raises:
        InputError: they have not.
    """
    side, device = model.config.image_size, next(model.parameters()).device
    maps = model.encoder_maps(torch.zeros(1, 3, side, side, device=device)).to("cpu", torch.bfloat16)
    folder.mkdir(parents=True, exist_ok=True)
    needed, free = images * _bytes([maps]), shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(folder, f"{free / 1e9:.1f} GB free", f"{needed / 1e9:.1f} GB for the maps of {images} images")


def encoders_hash(model: Mimo) -> str:
    """Names what the encoders compute: their kind, their weights, and the size of image they get."""
    parts: list[Any] = []
    for name in ("image_encoder", "segmentation_encoder"):
        encoder = getattr(model, name)
        if encoder is not None:
            about = dataclasses.asdict(getattr(model.config, name))
            for irrelevant in ("frozen", "pretrained", "source"):  # the weights say it
                about.pop(irrelevant, None)
            parts.append(json.dumps([name, about, model.config.image_size], sort_keys=True))
            for key, tensor in sorted(encoder.state_dict().items()):
                parts += [key, tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data]
    return digest(*parts)[:16]
