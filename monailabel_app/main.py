"""The MIMO app for MONAI Label: ask about a medical image with a click, a box or a question, in 3D Slicer and OHIF."""

from __future__ import annotations

import logging
from typing import Any

from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.infer_v2 import InferTask

from lib.engine import CacheSizes, Engine
from lib.infers import Ask, Click, SegmentNames, Volume
from lib.limits import Limits, whole_number
from lib.model import ModelStore
from monai_mimo.inference.safeguards import NOTICE, Thresholds

logger = logging.getLogger(__name__)


class MimoApp(MONAILabelApp):
    """See README.md for its tasks, its options (`--conf NAME VALUE`) and what its replies hold."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        conf = conf or {}
        self.limits = Limits.from_conf(conf)
        self.thresholds = Thresholds(
            uncertain=float(conf.get("uncertain", Thresholds.uncertain)),
            withhold=float(conf.get("withhold", Thresholds.withhold)),
        )
        self.models = ModelStore(conf.get("weights"), labels_of(conf), conf.get("device"))
        self.engine = Engine(self.models, cache_sizes(conf), self.limits)
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name="MIMO",
            description=f"Ask about an image with a click, a box or a question; answers are tied to masks. {NOTICE}",
            version="0.1",
        )
        self.models.peek()  # say now what weights there are, or that there are none

    def init_infers(self) -> dict[str, InferTask]:
        """The four tasks, by the names that viewers list."""
        return {
            "mimo_click": Click(self.engine, self.thresholds),
            "mimo_volume": Volume(self.engine, self.thresholds),
            "mimo_segment": SegmentNames(self.engine, self.thresholds),
            "mimo_ask": Ask(self.engine, self.thresholds),
        }

    def info(self) -> dict[str, Any]:
        """With the current weights."""
        model = self.models.peek()
        return {**super().info(), "model": model.info() if model else None, "notice": NOTICE}

    def _download_dcmqi_tools(self) -> None:
        """Nothing: DICOM SEG is written without them, and a server must start where there is no network."""


def labels_of(conf: dict[str, str]) -> list[str]:
    """`--conf labels "liver,spleen"`."""
    return [name.strip() for name in conf.get("labels", "").split(",") if name.strip()]


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
