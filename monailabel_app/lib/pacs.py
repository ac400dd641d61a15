"""The studies of a DICOMweb server: series come over whole, labels go back as DICOM SEG, silence is a clear error."""

from __future__ import annotations

import functools
import logging
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import nibabel as nib
import numpy as np
import pydicom
import requests
from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.exception import ImageNotFoundException
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform
from pydicom.dataset import Dataset

from monai_mimo.errors import InputError, MimoError
from monai_mimo.files import atomic_folder
from monai_mimo.transforms import MedicalImage
from monai_mimo.transforms.nifti import nifti_geometry, nifti_mask
from monai_mimo.transforms.pictures import read_stored
from monai_mimo.transforms.reading import PICTURES, has_suffix

from .atomic import AtomicDatastore
from .dicom_seg import colors_in, colors_of, names_of, read_seg, write_seg
from .dicom_sr import read_report, write_sr
from .request_limits import Limits
from .result import image_affine, write_result
from .study_folder import to_nifti
from .study_image import StudyImage, open_study_image

logger = logging.getLogger(__name__)

UID = re.compile(r"[0-9]+(\.[0-9]+)*")
NO_IMAGES = {"SEG", "SR", "PR", "KO", "RTSTRUCT", "RTPLAN", "RTDOSE", "REG", "DOC", "ECG", "AU", "FID"}
LIST_SECONDS = 10  # for which a list of series holds
OFF_GRID = 0.1  # of a voxel; so far may a label lie beside its image

Result = TypeVar("Result")


class PacsError(MimoError):
    """The DICOMweb server does not answer, or refuses."""


def asking(method: Callable[..., Result]) -> Callable[..., Result]:
    """Turn what goes wrong on the way to the server into a `PacsError`; the next request tries again."""

    @functools.wraps(method)
    def call(self: Pacs, *args: Any, **options: Any) -> Result:
        try:
            return method(self, *args, **options)
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else "an error"
            raise PacsError(self.name(), f"status {status}", "a DICOMweb server that takes the request") from error
        except requests.RequestException as error:
            raise PacsError(self.name(), "no answer", "a DICOMweb server that is running") from error

    return call


class Pacs(DICOMWebDatastore, AtomicDatastore):
    """Images are the series, known by their UID; a copy is kept in a folder of this machine."""

    def __init__(self, client: Any, limits: Limits, cache_path: str | None, filters: dict[str, Any]) -> None:
        self._limits = limits
        self._listed: tuple[float, list[str]] | None = None
        self._fetching: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        super().__init__(client, filters, cache_path)

    @asking
    def list_images(self) -> list[str]:
        """The UIDs of the series with images."""
        now = time.monotonic()
        if self._listed is None or now - self._listed[0] > LIST_SECONDS:
            series = [Dataset.from_json(s) for s in self._client.search_for_series(search_filters=self._search_filter)]
            uids = [str(s.SeriesInstanceUID) for s in series if str(s.get("Modality", "")) not in NO_IMAGES]
            self._listed = now, uids
        return list(self._listed[1])

    def status(self) -> dict[str, Any]:
        """Also while the server is down: then there is nothing, and the reason."""
        try:
            return super().status()
        except PacsError as error:
            return {"total": 0, "completed": 0, "label_tags": {}, "error": str(error)}

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Those whose label was saved through this server."""
        return [k for k, v in self._datastore.objects.items() if v.labels.get(DefaultLabelTag.FINAL)]

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """The others."""
        labelled = set(self.get_labeled_images())
        return [uid for uid in self.list_images() if uid not in labelled]

    @asking
    def get_image_uri(self, image_id: str) -> str:
        """A NIfTI on the voxels of the series; the series itself is the folder beside it, which `source_of` finds.

        Raises:
            ImageNotFoundException: the server has no such series.
            PacsError: it does not answer.
        """
        if not UID.fullmatch(image_id) or len(image_id) > 64:
            raise ImageNotFoundException(f"Image {image_id[:80]!r} not found")
        folder = Path(self._datastore.image_path()).resolve() / image_id
        nifti = folder.with_name(f"{image_id}.nii.gz")
        with self._guard:
            fetching = self._fetching.setdefault(image_id, threading.Lock())
        with fetching:
            if not folder.is_dir():
                self._fetch(image_id, folder)
            if image_id not in self._datastore.objects or not nifti.exists():
                with tempfile.TemporaryDirectory() as temporary:
                    made = Path(temporary) / nifti.name
                    to_nifti(folder, made, self._limits)
                    self.add_image(image_id, str(made), self._dicom_info(image_id))
        return str(nifti)

    def viewer_file(self, image_id: str) -> str:
        """As `StudyFolder.viewer_file`."""
        return self.get_image_uri(image_id)

    def get_label_uri(self, label_id: str, label_tag: str, image_id: str = "") -> str:
        """The label map that was saved here, as a file; "" if there is none."""
        return AtomicDatastore.get_label_uri(self, label_id, label_tag)

    @asking
    def save_label(  # type: ignore[override]
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any], label_id: str = ""
    ) -> str:
        """Keep a label; a final one goes to the server first, as a DICOM SEG in the study of its image, with a DICOM SR where
        `label_info` has a `report`; see `dicom_sr.read_report`.

        Raises:
            InputError: it does not fit the image.
            PacsError: the server does not take it; then nothing is saved.
        """
        nifti = self.get_image_uri(image_id)
        info = dict(label_info or {})
        with tempfile.TemporaryDirectory() as temporary:
            if label_filename.endswith(".bin"):
                label_filename = _from_bytes(label_filename, nifti, Path(temporary) / "label.nii.gz")
            report = read_report(info)
            info.pop("report", None)  # its texts are in the SR, and nowhere else
            if label_tag == DefaultLabelTag.FINAL:
                seg, sr = Path(temporary) / "seg.dcm", Path(temporary) / "sr.dcm"
                self._write_seg(image_id, Path(label_filename), info, seg)
                if report is not None:
                    write_sr(seg, source_of(Path(nifti)), nifti_geometry(Path(nifti))[1], report, sr)
                series = self._store([seg, sr] if report is not None else [seg])
                info |= zip(("SeriesInstanceUID", "ReportSeriesInstanceUID"), series)
                info["label_names"] = {name: value for value, name in names_of(info).items()}
            elif report is not None:
                raise InputError("report", f"a label that is {label_tag}", "a final one, that a person accepted")
            return AtomicDatastore.save_label(self, image_id, label_filename, label_tag, info)

    def _store(self, files: list[Path]) -> list[str]:
        """Send files to the server in one request.

        Returns:
            The UIDs of their series.

        Raises:
            PacsError: it does not take one of them.
        """
        datasets = [pydicom.dcmread(file) for file in files]
        if self._client.store_instances(datasets).get("FailedSOPSequence"):
            raise PacsError(self.name(), "an instance that it refused", "a DICOMweb server that stores what it is sent")
        return [str(ds.SeriesInstanceUID) for ds in datasets]

    def to_seg(self, image_id: str, label_filename: str, info: dict[str, Any]) -> str:
        """A label map as a DICOM SEG, in a new temporary file.

        Raises:
            InputError: it does not fit the image, or is empty.
        """
        handle, out = tempfile.mkstemp(suffix=".dcm")
        os.close(handle)
        try:
            self._write_seg(image_id, Path(label_filename), info, Path(out))
        except BaseException:
            os.unlink(out)
            raise
        return out

    def _write_seg(self, image_id: str, label: Path, info: dict[str, Any], out: Path) -> None:
        model, reviewer = info.get("model"), info.get("reviewer")
        nifti = self.get_image_uri(image_id)
        write_seg(
            Path(nifti.removesuffix(".nii.gz")),
            read_labels(label, Path(nifti)),
            names_of(info),
            out,
            " ".join(str(v) for v in model.values()) if isinstance(model, dict) else str(model or ""),
            reviewer if isinstance(reviewer, str) else "",
            colors_of(info),
        )

    @asking
    def _download_labeled_data(self) -> None:
        """Also take over the SEGs that others made of our series, those that fit their images."""
        for found in self._client.search_for_series(search_filters={"Modality": "SEG"}):
            series = Dataset.from_json(found)
            study, uid = str(series.StudyInstanceUID), str(series.SeriesInstanceUID)
            meta = Dataset.from_json(self._client.retrieve_series_metadata(study, uid)[0])
            referenced = meta.get("ReferencedSeriesSequence")
            image_id = str(referenced[0].SeriesInstanceUID) if referenced else ""
            if image_id in self.get_labeled_images() or image_id not in self.list_images():
                continue
            try:
                self._take_over(study, uid, image_id)
            except MimoError as error:
                logger.warning("a SEG was left out: %s", error)

    def _take_over(self, study: str, uid: str, image_id: str) -> None:
        image = self._open(image_id)
        with tempfile.TemporaryDirectory() as temporary:
            out = Path(temporary) / "label.nii.gz"
            labels, names = read_seg(self._fetch_seg(study, uid, Path(temporary)), image)
            nib.save(nib.Nifti1Image(labels, image_affine(image)), out)
            info = {"SeriesInstanceUID": uid, "label_names": names}
            AtomicDatastore.save_label(self, image_id, str(out), DefaultLabelTag.FINAL, info)

    @asking
    def masks_of(self, image_id: str, seg: str) -> tuple[dict[str, Any], str]:
        """The masks of a SEG, by the UID of its series.

        Returns:
            `label_names` and `colors` as the route `/masks` replies them, and a new temporary NRRD.

        Raises:
            ImageNotFoundException: the server has no such SEG.
            InputError, DataError: it cannot be read, or does not lie on the image.
        """
        study = self._study_of(seg, "SEG") if UID.fullmatch(seg) else None
        if study is None:
            raise ImageNotFoundException(f"Segmentation {seg[:80]} not found")
        image = self._open(image_id)
        with tempfile.TemporaryDirectory() as temporary:
            file = self._fetch_seg(study, seg, Path(temporary))
            labels, names = read_seg(file, image)
            colors = colors_in(file)
        written = write_result(labels, image, names, {"result_extension": ".nrrd"})
        return {"label_names": names, "colors": colors}, written

    def _open(self, image_id: str) -> StudyImage:
        return open_study_image(source_of(Path(self.get_image_uri(image_id))), "auto", self._limits)

    def _fetch_seg(self, study: str, uid: str, folder: Path) -> Path:
        file = folder / "seg.dcm"
        self._client.retrieve_series(study, uid)[0].save_as(file)
        return file

    def _study_of(self, uid: str, modality: str | None = None) -> str | None:
        """The study of a series; none where there is no such series, or it is of another modality."""
        for found in self._client.search_for_series(search_filters={"SeriesInstanceUID": uid}):
            series = Dataset.from_json(found)
            if series.SeriesInstanceUID == uid and modality in (None, series.Modality):
                return str(series.StudyInstanceUID)
        return None

    def _fetch(self, uid: str, folder: Path) -> None:
        """Bring a series over, as an atomic folder."""
        study = self._study_of(uid)
        if study is None:
            raise ImageNotFoundException(f"Image {uid} not found")
        with atomic_folder(folder) as new:
            for instance in self._client.retrieve_series(study, uid):
                instance.save_as(new / f"{instance.SOPInstanceUID}.dcm", write_like_original=False)

    def _dicom_info(self, series_id: str) -> dict[str, str]:
        """What is kept of a series: no name, no number, no date of a patient."""
        folder = Path(self._datastore.image_path()) / series_id
        header = pydicom.dcmread(next(f for f in sorted(folder.iterdir()) if f.is_file()), stop_before_pixels=True)
        return {name: str(header.get(name, "")) for name in ("SeriesInstanceUID", "StudyInstanceUID", "Modality")}


def source_of(image: Path) -> Path:
    """Of a NIfTI that was made of a DICOM series, that series, which tells more (its modality, above all)."""
    folder = Path(str(image).removesuffix(".nii.gz"))
    return folder if folder != image and folder.is_dir() else image


def read_labels(path: Path, like: Path | None = None) -> np.ndarray:
    """A label map [i, j, k] of a file, as whole numbers.

    Args:
        like: an image; a label whose axes run otherwise is turned to run as those of the image.

    Raises:
        InputError: it cannot be read, holds other values, or lies elsewhere than the image.
    """
    image = MedicalImage.open(path)
    if image.is_volume:
        values = image.grid.values
    else:  # indices, where there is a palette
        stored = read_stored(path).values if has_suffix(path, PICTURES) else image.grid.values
        values = np.swapaxes(stored, 0, 1)[:, :, None]
    whole = np.rint(values)
    if values.ndim != 3 or not np.array_equal(whole, values) or whole.min() < 0 or whole.max() > 65535:
        raise InputError("label", "values that are no whole numbers from 0 to 65535", "a label map")
    labels = whole.astype(np.uint16)
    if like is not None and image.affine is not None:
        shape, affine = nifti_geometry(like)
        labels = turned(labels, image.affine, affine, shape)
    return labels


def turned(labels: np.ndarray, affine: np.ndarray, wanted: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A label map with the axes of an image, flipped and permuted where they run otherwise.

    Raises:
        InputError: then a corner of it is still more than a tenth of a voxel from that of the image.
    """
    change = ornt_transform(io_orientation(affine), io_orientation(wanted))
    affine = affine @ inv_ornt_aff(change, labels.shape)
    labels = apply_orientation(labels, change)
    if labels.shape == tuple(shape):
        corners = np.array([[*np.multiply(c, np.subtract(shape, 1)), 1] for c in np.ndindex(2, 2, 2)]).T
        apart = np.linalg.norm((np.linalg.inv(wanted) @ affine @ corners - corners)[:3], axis=0).max()
        if apart < OFF_GRID:
            return labels
    found = f"{list(labels.shape)} voxels in another place"
    raise InputError("label", found, f"the {list(shape)} voxels of the image")


def _from_bytes(path: str, image: str, out: Path) -> str:
    """What OHIF sends: uint8, the first axis fastest, on the voxels of the image."""
    shape, _ = nifti_geometry(Path(image))
    values = np.fromfile(path, dtype=np.uint8)
    if values.size != np.prod(shape):
        raise InputError("label", f"{values.size} bytes", f"one for each of {list(shape)} voxels")
    nib.save(nifti_mask(Path(image), values.reshape(shape, order="F")), out)
    return str(out)
