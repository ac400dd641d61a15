"""The labels that people saved, as fine-tuning and scoring take them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from PIL import Image

from monai_mimo.mimoseg.sources.labelled import LabelledImage
from monai_mimo.transforms import MedicalImage
from monai_mimo.transforms.dicom_series import DICOM_MODALITIES
from monai_mimo.transforms.reading import PICTURES, has_suffix

from .dicom_seg import names_of
from .pacs import Pacs, read_labels


def final_labels(datastore: Datastore, folder: Path) -> list[LabelledImage]:
    """Every image that has a final label with names; images of one study count as one patient.

    Args:
        folder: for label maps that must be written anew to fit their images.
    """
    datastore.refresh()
    found: list[LabelledImage] = []
    for image_id in sorted(datastore.get_labeled_images()):
        names = label_names(datastore, image_id, DefaultLabelTag.FINAL)
        if names:
            found.append(_labelled(datastore, image_id, names, folder / f"{len(found):05d}.png"))
    return found


def label_names(datastore: Datastore, image_id: str, tag: str) -> dict[str, int]:
    """Name -> value in the label map of an image; empty where there is no label, or none with names."""
    label = datastore.get_label_by_image_id(image_id, tag)
    info = datastore.get_label_info(label, tag) if label else {}
    if isinstance(info.get("params"), Mapping):  # of a label that a task made
        info = {**info, **info["params"]}
    return {name: value for value, name in names_of(info).items() if value}


def label_file(datastore: Datastore, image_id: str, tag: str) -> Path:
    """Of the label of an image."""
    return Path(datastore.get_label_uri(datastore.get_label_by_image_id(image_id, tag), tag))


def _labelled(datastore: Any, image_id: str, names: dict[str, int], picture: Path) -> LabelledImage:
    labels = label_file(datastore, image_id, DefaultLabelTag.FINAL)
    source = Path(datastore.get_image_uri(image_id))
    image = Path(datastore.viewer_file(image_id))
    info = datastore.get_image_info(image_id)
    modality = DICOM_MODALITIES.get(str(info.get("Modality", "")))
    if modality is None and source != image and not isinstance(datastore, Pacs):
        modality = MedicalImage.open(source).modality  # a DICOM series knows what its NIfTI does not
    if has_suffix(image, PICTURES) and not has_suffix(labels, PICTURES):  # viewers see pictures as volumes of one slice
        Image.fromarray(read_labels(labels)[:, :, 0].T.astype(np.uint8)).save(picture)
        labels = picture
    return LabelledImage(image, labels, names, str(info.get("StudyInstanceUID", "")), modality)
