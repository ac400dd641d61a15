"""Frozen encoders are run once over a set, and training reads what they gave from disk."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import ignite.distributed as idist
import numpy as np
import torch
from datasets import Dataset as Rows
from datasets import Image
from PIL import Image as Picture
from tqdm import tqdm

from ..data.dataset import Augment, rows_by_image
from ..data.feature_cache import EncoderMaps, FeatureCache
from ..data.variants import variants_of
from ..errors import InputError
from ..files import digest
from ..mimoseg.encoding import decode_rle
from ..models import Mimo
from ..transforms.resize import SquareResize

T = TypeVar("T")
logger = logging.getLogger(__name__)
FILE_BYTES = 256 << 20  # of a file of the store, about; this much is computed again after an interruption


def encode_once(
    model: Mimo,
    rows: Rows,
    folder: str | Path,
    images_per_batch: int = 16,
    file_bytes: int = FILE_BYTES,
    variants: int = 1,
) -> FeatureCache:
    """The maps of all images of `rows` and of further variants of each (`data.variants`), by the frozen encoders of `model`, from
    the store in `folder`; those that are not there yet are computed now, each process its part. All processes must call it.

    Args:
        images_per_batch: how many images the encoders take at once.
        file_bytes: how large the files of the store get.
        variants: of each image, the image itself included.

    Raises:
        InputError: an encoder is trained, so its maps change; the disk is too small for the store.
    """
    for name in ("image_encoder", "segmentation_encoder"):
        part = getattr(model, name)
        if part is not None and any(p.requires_grad for p in part.parameters()):
            raise InputError("feature cache", f"a trained {name}", "encoders that are frozen")
    store = FeatureCache(Path(folder) / encoders_hash(model))
    if variants < 1:
        raise InputError("feature_variants", str(variants), "1 or more")
    encoded, strong = rows.cast_column("image", Image(decode=False)), model.config.training.strong_augmentation
    missing = [
        (group, number)
        for group in rows_by_image(rows)
        for number, variant in enumerate(variants_of([encoded[row] for row in group], variants, strong))
        if variant.key not in store
    ]
    idist.barrier()  # before anything is written, so that all processes divide the same images
    mine = missing[idist.get_rank() :: idist.get_world_size()]
    if mine:
        logger.info("encoding %d of %d images and variants into %s", len(mine), len(missing), store.folder)
        _check_room(model, store.folder, len(missing))
        _encode(model, encoded, mine, store, images_per_batch, file_bytes, strong)
    idist.barrier()
    store.refresh()
    return store


@torch.no_grad()
def _encode(
    model: Mimo,
    encoded: Rows,
    wanted: list[tuple[list[int], int]],
    store: FeatureCache,
    images_per_batch: int,
    file_bytes: int,
    strong: bool,
) -> None:
    augment = Augment(strong=strong)
    device = next(model.parameters()).device
    keys: list[bytes] = []
    batches: list[EncoderMaps] = []
    for batch in tqdm(
        list(_chunks(wanted, images_per_batch)), desc="encoding", unit="batch", disable=idist.get_rank() > 0
    ):
        made = [
            variant_image([encoded[row] for row in group], n, model.config.image_size, augment) for group, n in batch
        ]
        images = torch.stack([image for _, image in made])
        batches.append(model.encoder_maps(images.to(device)).to("cpu", torch.bfloat16))
        keys += [key for key, _ in made]
        if _bytes(batches) >= file_bytes or batch[-1] == wanted[-1]:
            store.add(keys, _join(batches))
            keys, batches = [], []


def variant_image(rows: list[dict[str, Any]], number: int, side: int, augment: Augment) -> tuple[bytes, torch.Tensor]:
    """The key and the picture [3, S, S] of one variant of the image of `rows`."""
    variant = variants_of(rows, number + 1, augment.color is not None)[number]
    image = square(rows[0]["image"]["bytes"], side)
    if variant.seed is None:
        return variant.key, image
    counts = {entity["mask"]["counts"]: entity["mask"] for row in rows for entity in row["entities"]}
    shape = tuple(rows[0]["size"])
    decoded = [decode_rle(mask) for mask in counts.values()]
    masks = SquareResize(*shape, side).masks(np.stack(decoded) if decoded else np.zeros((0, *shape), dtype=bool))
    augment.set_random_state(variant.seed)
    return variant.key, augment.changed(image, masks, variant.moves)[0]


def square(encoded: bytes, side: int) -> torch.Tensor:
    """A PNG or JPEG as the model reads it, [3, S, S]."""
    pixels = np.asarray(Picture.open(io.BytesIO(encoded)).convert("RGB"))
    return SquareResize(*pixels.shape[:2], side).image(pixels)


def _chunks(wanted: list[T], size: int) -> Iterator[list[T]]:
    return (wanted[start : start + size] for start in range(0, len(wanted), size))


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
