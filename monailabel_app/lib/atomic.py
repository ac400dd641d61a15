"""An atomic datastore: a server that is killed while it saves leaves what was there before."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastore
from monailabel.interfaces.exception import ImageNotFoundException

from monai_mimo.files import atomic_file, copy_file, remove_leftovers


class AtomicDatastore(LocalDatastore):
    """MONAI Label's folder of images and labels, each file and its table atomic."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        remove_leftovers(self._datastore_path)  # of a server that was killed

    def _to_id(self, file: str) -> tuple[str, str]:
        """The name without its extension: only the end of a name is one, and a folder has none."""
        endings = sorted((e.replace("*", "") for e in self._extensions), key=len, reverse=True)
        ending = next((e for e in endings if file.lower().endswith(e)), "")
        return (file[: -len(ending)], file[-len(ending) :]) if ending else (file, "")

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """See `LocalDatastore`."""
        name, extension = self._to_id(os.path.basename(image_filename))
        image_id = image_id or name
        name = self._filename(image_id, extension)
        with FileLock(self._lock_file):
            copy_file(image_filename, Path(self._datastore.image_path()) / name)
            info = {**(image_info or {}), "ts": int(time.time()), "name": name}
            self._datastore.objects[image_id] = ImageLabelModel(image=DataModel(info=info, ext=extension))
            self._update_datastore_file(lock=False)
        return image_id

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """See `LocalDatastore`."""
        image = self._datastore.objects.get(image_id)
        if image is None:
            raise ImageNotFoundException(f"Image {image_id} not found")
        _, extension = self._to_id(os.path.basename(label_filename))
        folder = Path(self._datastore.label_path(label_tag))
        name = self._filename(image_id, extension)
        with FileLock(self._lock_file):
            folder.mkdir(parents=True, exist_ok=True)
            copy_file(label_filename, folder / name)
            old = image.labels.get(label_tag)
            info = {**(label_info or {}), "ts": int(time.time()), "name": name}
            image.labels[label_tag] = DataModel(info=info, ext=extension)
            self._update_datastore_file(lock=False)
            if old is not None and old.ext != extension:  # the label in another form is no longer the label
                (folder / self._filename(image_id, old.ext)).unlink(missing_ok=True)
        return image_id

    def _update_datastore_file(self, lock: bool = True) -> None:
        if lock:
            with FileLock(self._lock_file):
                return self._update_datastore_file(lock=False)
        table = Path(self._datastore_config_path)
        values = self._datastore.model_dump(exclude={"base_path"})
        with atomic_file(table, sync=True) as file:
            file.write_text(json.dumps(values, indent=2, default=str))
        self._config_ts = os.stat(table).st_mtime
