"""The MIMO app for MONAI Label: ask about a medical image with a click, a box or a question, in 3D Slicer and OHIF."""

from __future__ import annotations

import atexit
import logging
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monailabel.config import settings
from monailabel.datastore.dicom import DICOMwebClientX
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.exception import ImageNotFoundException, MONAILabelError, MONAILabelException
from monailabel.interfaces.tasks.batch_infer import BatchInferTask
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.tasks.activelearning.random import Random

from lib.activelearning import First, Uncertainty
from lib.audit import AuditLog
from lib.engine import CacheSizes, Engine
from lib.infers import Ask, Click, SegmentNames, Volume
from lib.model import ModelStore
from lib.pacs import Pacs, source_of
from lib.request_limits import Limits, whole_number
from lib.scoring import Agreement
from lib.server import asked_host, check_exposure, error_response, install
from lib.study_folder import StudyFolder
from lib.trainers import MimoTrain
from lib.versions import Versions
from lib.volume_sessions import SessionLimits, VolumeSessions
from monai_mimo.errors import InputError
from monai_mimo.inference.safeguards import NOTICE, Thresholds

logger = logging.getLogger(__name__)


class OneByOne(BatchInferTask):
    """MONAI Label's own shares the images among the GPUs there are, also where there are none; this app computes one request at
    a time wherever it runs."""

    def __call__(self, request: Mapping[str, Any], datastore: Datastore, infer: Any) -> Any:
        """See there."""
        return super().__call__({**request, "multi_gpu": False, "device": "cpu", "max_workers": 1}, datastore, infer)


class MimoApp(MONAILabelApp):
    """See README.md for its tasks, its options (`--conf NAME VALUE`) and what its replies hold."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        conf = conf or {}
        self.limits = Limits.from_conf(conf)
        self.thresholds = thresholds_of(conf)
        self.models = ModelStore(conf.get("weights"), labels_of(conf), conf.get("device"))
        self.versions = Versions(Path(conf.get("versions", Path(app_dir) / "model")), self.models)
        self.engine = Engine(self.models, cache_sizes(conf), self.limits)
        self.sessions_of_volumes = VolumeSessions(SessionLimits.from_conf(conf))
        self.audit = AuditLog(Path(conf.get("audit", Path(app_dir) / "logs" / "audit.jsonl")))
        self.uploads = Path(tempfile.mkdtemp(prefix="mimo-uploads-"))
        atexit.register(shutil.rmtree, self.uploads, ignore_errors=True)
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name="MIMO",
            description=f"Ask about an image with a click, a box or a question; answers are tied to masks. {NOTICE}",
            version="0.1",
        )
        self._auto_update_scoring = (
            False  # at every proposal of an image it would start two processes that load all this
        )
        self.versions.sync()
        self.models.peek()  # say now what weights there are, or that there are none
        install(self, check_exposure(asked_host(sys.argv[1:]), settings.MONAI_LABEL_AUTH_ENABLE))

    def init_infers(self) -> dict[str, InferTask]:
        """The four tasks, by the names that viewers list."""
        return {
            "mimo_click": Click(self.engine, self.thresholds),
            "mimo_volume": Volume(self.engine, self.thresholds),
            "mimo_segment": SegmentNames(self.engine, self.thresholds),
            "mimo_ask": Ask(self.engine, self.thresholds),
        }

    def init_batch_infer(self) -> BatchInferTask:
        """One image after the other, on the device where the model is."""
        return OneByOne()

    def init_trainers(self) -> dict[str, TrainTask]:
        """Learning from final labels."""
        return {"mimo": MimoTrain(self.versions, str(self.models.device))}

    def init_strategies(self) -> dict[str, Strategy]:
        """Which image to label next."""
        return {
            "mimo_uncertainty": Uncertainty(self.engine, self.image_file),
            "random": Random(),
            "first": First(),
        }

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """Labels of tasks against labels of people."""
        return {"dice": Agreement("dice"), "f1": Agreement("f1")}

    def init_datastore(self) -> Datastore:
        """A folder, or a DICOMweb server."""
        if self.studies.startswith(("http://", "https://")):
            return super().init_datastore()
        return StudyFolder(
            self.studies,
            self.limits,
            settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
            settings.MONAI_LABEL_DATASTORE_READ_ONLY,
        )

    def _init_dicomweb_datastore(self) -> Datastore:
        """Without dcmqi, which MONAI Label would download here: SEGs are written by highdicom."""
        client = DICOMwebClientX(
            url=self.studies,
            session=None,
            qido_url_prefix=settings.MONAI_LABEL_QIDO_PREFIX,
            wado_url_prefix=settings.MONAI_LABEL_WADO_PREFIX,
            stow_url_prefix=settings.MONAI_LABEL_STOW_PREFIX,
        )
        client.set_http_retry_params(max_attempts=2, wait_exponential_multiplier=250)  # a person waits for the answer
        if settings.MONAI_LABEL_DICOMWEB_USERNAME and settings.MONAI_LABEL_DICOMWEB_PASSWORD:
            client._session.auth = (
                settings.MONAI_LABEL_DICOMWEB_USERNAME,
                settings.MONAI_LABEL_DICOMWEB_PASSWORD,
            )
        filters = settings.MONAI_LABEL_DICOMWEB_SEARCH_FILTER
        default = type(settings).model_fields["MONAI_LABEL_DICOMWEB_SEARCH_FILTER"].default
        cache = (settings.MONAI_LABEL_DICOMWEB_CACHE_PATH or "").strip() or None
        return Pacs(client, self.limits, cache, {} if filters == default else filters)

    def info(self) -> dict[str, Any]:
        """With the current weights."""
        self.versions.sync()
        model = self.models.peek()
        reports = isinstance(self.datastore(), Pacs)  # whether a saved label may have one
        return {**super().info(), "model": model.info() if model else None, "notice": NOTICE, "reports": reports}

    def infer(self, request: Mapping[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Answer a request, and note it in the audit log.

        Raises:
            MimoError, MONAILabelException: it cannot be used; see `lib.server.error_response`.
        """
        name, image = str(request.get("model")), request.get("image")
        noted = {"prompt": self.audit.prompt(request)}
        self.versions.sync()
        try:
            task = self._infers.get(name)
            if task is None:
                raise MONAILabelException(MONAILabelError.INVALID_INPUT, f"there is no task {name[:80]!r}")
            datastore = datastore or self.datastore()
            path = self.image_file(image, datastore)
            file, params = task({**request, "image": str(path), "description": task.description})
        except Exception as error:
            status, _ = error_response(error, own=True)
            self.audit.write(name[:80], image, f"refused ({status or type(error).__name__})", **noted)
            raise
        statuses = [entity["status"] for entity in params["entities"]] + ["withheld"] * len(params["withheld"])
        self.audit.write(name, image, "answered", **noted, model=params["model"]["hash"], statuses=statuses)
        label = None
        if file and request.get("save_label"):  # never as final: that takes a person
            label = datastore.save_label(image, file, "original", {"model": name, "params": params})
        return {"label": label, "tag": "original", "file": file, "params": params}

    def has_image(self, image: str) -> bool:
        """Whether the studies have an image of that id."""
        if isinstance(self.datastore(), Pacs):
            return bool(self.datastore().get_image_uri(image))
        return image in self.datastore().list_images()

    def image_file(self, image: Any, datastore: Datastore) -> Path:
        """Where an image is: the id of one of the studies, or a file that was uploaded for this request.

        Raises:
            InputError: it is no text.
            ImageNotFoundException: there is no such image, or it lies elsewhere.
        """
        if not isinstance(image, str) or not image:
            raise InputError("image", type(image).__name__, "the id of an image")
        if "\0" not in image and len(image) < 1024:
            uri = datastore.get_image_uri(image) if not image.startswith("/") else ""
            if uri and isinstance(datastore, Pacs):
                return source_of(Path(uri))
            path = Path(uri or image).resolve()
            roots = [self.uploads]
            if not isinstance(datastore, Pacs):
                roots.append(Path(self.studies))
            if self.sessions() is not None:
                roots.append(Path(self.sessions().store_path))
            if path.is_absolute() and path.exists() and any(path.is_relative_to(r.resolve()) for r in roots):
                return path
        raise ImageNotFoundException(f"there is no image {image[:80]!r}")

    def save_label(self, image: str, file: str, tag: str, info: dict[str, Any]) -> dict[str, Any]:
        """Keep a label that a person accepted, and note it.

        Raises:
            InputError: a report is wanted, and the studies are a folder: there is no DICOM SEG that it could be about.
        """
        if info.get("report") not in (None, False) and not isinstance(self.datastore(), Pacs):
            raise InputError("report", "studies in a folder", "studies of a DICOMweb server, to which SEG and SR go")
        label = self.datastore().save_label(image, file, tag, info)
        names = info.get("label_names")
        self.audit.write(
            "save",
            image,
            f"saved as {tag}",
            reviewer=self.audit.hashed(info["reviewer"]) if info.get("reviewer") else None,
            labels=self.audit.prompt({"label": names}) if isinstance(names, dict) else None,
        )
        return {**(self.on_save_label(image, label) or {}), "image": image, "label": label}

    def note_decision(self, decision: dict[str, Any]) -> None:
        """A phrase that a person accepted or rejected."""
        score, reviewer = decision.get("score"), decision.get("reviewer")
        self.audit.write(
            "phrase",
            decision.get("image"),
            decision["decision"],
            phrase=self.audit.prompt({"label": str(decision.get("phrase", ""))}).get("label"),
            score=score if isinstance(score, int | float) else None,
            reviewer=self.audit.hashed(reviewer) if reviewer else None,
        )

    def on_save_label(self, image_id: str, label_id: str) -> dict[str, Any] | None:
        """Called after a label was saved."""
        return None

    def _download_dcmqi_tools(self) -> None:
        """Nothing: a server must start where there is no network."""


def labels_of(conf: dict[str, str]) -> list[str]:
    """`--conf labels "liver,spleen"`."""
    return [name.strip() for name in conf.get("labels", "").split(",") if name.strip()]


def thresholds_of(conf: dict[str, str]) -> Thresholds:
    """`--conf uncertain` and `--conf withhold`."""
    try:
        given = {name: float(conf[name]) for name in ("uncertain", "withhold") if name in conf}
    except ValueError as error:
        raise InputError("--conf uncertain, withhold", str(error), "numbers from 0 to 1") from error
    return Thresholds(**given)


def cache_sizes(conf: dict[str, str]) -> CacheSizes:
    """`--conf feature_cache_mb`, `image_cache_mb` and `prefetch`."""
    sizes = CacheSizes()

    def setting(name: str, default: int) -> int:
        return whole_number(conf, name, 0) if name in conf else default

    return CacheSizes(
        features=setting("feature_cache_mb", sizes.features >> 20) << 20,
        images=setting("image_cache_mb", sizes.images >> 20) << 20,
        neighbours=setting("prefetch", sizes.neighbours),
    )
