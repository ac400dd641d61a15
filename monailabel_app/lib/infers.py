"""What a viewer can ask the server to do: four tasks, each a chain from the request to the mask on the file's voxels.

The chains run as those of MONAI Label's own apps do: edit the lists, or derive from a task. The links are in `lib.transforms`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferType
from monailabel.interfaces.utils.transform import run_transforms
from monailabel.tasks.infer.basic_infer import BasicInferTask

from monai_mimo.inference.safeguards import Thresholds

from . import result
from .engine import Engine
from .transforms import (
    AskForNames,
    AskInWords,
    AskModel,
    AskWhatIsMarked,
    JoinNames,
    KeepBest,
    LabelMap,
    OpenStudy,
    PromptsToPixels,
    PromptsToVoxels,
    ReadRequest,
    Safeguards,
    StackMasks,
    ToVoxels,
)

Chain = Sequence[Callable[..., Any]]  # or a `Compose`
PLANES = ["auto", "axial", "coronal", "sagittal"]
# of the stock task, and not for clients: its log would have the question, and it could leave the writer out
OURS = {"device": "cpu", "logging": "WARNING", "skip_writer": False, "latencies": None}


class MimoTask(BasicInferTask):
    """A task of the app. Nothing of a request is kept on it: several run at a time.

    Args:
        type: decides in which part of a viewer the task appears.
        dimension: 2 for a slice, 3 for a volume.
        engine: shared by all tasks.
        thresholds: below which a phrase is marked as uncertain, or withheld.
        config: options that viewers show; their values come back in the request.
    """

    def __init__(
        self,
        type: InferType,
        dimension: int,
        description: str,
        engine: Engine,
        thresholds: Thresholds,
        config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(None, None, type, [], dimension, f"{description} Research use only.")
        self.engine, self.thresholds = engine, thresholds
        self._config = {**(config or {}), "plane": PLANES}  # without the stock choice of a device

    def info(self) -> dict[str, Any]:
        """With the labels of the current weights, which may have been exchanged, and with what says which those are."""
        model = self.engine.models.peek()
        self.labels = list(model.labels) if model else []
        return {**super().info(), "weights": model.info() if model else None}

    def is_valid(self) -> bool:
        """True: whether there are weights is said when it is asked."""
        return True

    def __call__(self, request: dict[str, Any], callbacks: Any = None) -> tuple[str | None, dict[str, Any]]:
        """Answer a request.

        Returns:
            The file with the label map, and the JSON of the reply.

        Raises:
            MimoError: the request, the image or the weights cannot be used.
        """
        file, said = super().__call__({**request, **OURS}, callbacks)
        said.pop("centroids")
        return file, {**said, "label_names": result.label_names(said["entities"])}

    def run_pre_transforms(self, data: dict[str, Any], transforms: Chain) -> Any:
        """Also of a `Compose`."""
        return run_transforms(data, transforms, log_prefix="PRE")

    def inferer(self, data: Any = None) -> Any:
        """Ask the model, whose weights and features all tasks share."""
        return [AskModel(self.engine)]

    def run_inferer(self, data: dict[str, Any], convert_to_batch: bool = True, device: str = "") -> Any:
        """As the stock tasks without a network of their own do."""
        return run_transforms(data, self.inferer(data), log_prefix="INF", log_name="Inferer")

    def writer(self, data: dict[str, Any], extension: Any = None, dtype: Any = None) -> tuple[str | None, Any]:
        """The label map as a file with the names of its values, unless the request wants none."""
        said = data["result"]
        if data.get("result_write_to_file", True) is False:
            return None, said
        return result.write_result(data["pred"], data["study"], said["label_names"], data), said


class Click(MimoTask):
    """`mimo_click`: points or a box on one slice -> the mask of what is there, with its name.

    Of type deepgrow, so that the point tools of both viewers' stock panels are offered for it.
    """

    def __init__(self, engine: Engine, thresholds: Thresholds) -> None:
        said = "MIMO: click on or box a structure on one slice; its mask and its name come back."
        super().__init__(InferType.DEEPGROW, 2, said, engine, thresholds)

    def pre_transforms(self, data: Any = None) -> Chain:
        """From the request to one question about a slice."""
        return [ReadRequest(self.engine.limits), OpenStudy(self.engine), PromptsToPixels(), AskWhatIsMarked()]

    def post_transforms(self, data: Any = None) -> Chain:
        """To the one segment with the best score."""
        return [Safeguards(self.thresholds), KeepBest(), StackMasks(), LabelMap(), ToVoxels()]


class Volume(Click):
    """`mimo_volume`: points, scribbles and boxes on any slices -> the structure in the whole volume; of a picture, as a click.

    Of type deepgrow and three-dimensional, so that the point tools of the stock panels are offered for it.
    """

    def __init__(self, engine: Engine, thresholds: Thresholds) -> None:
        said = "MIMO: click on or box a structure on any slice; it is found in the whole volume."
        MimoTask.__init__(self, InferType.DEEPGROW, 3, said, engine, thresholds)

    def pre_transforms(self, data: Any = None) -> Chain:
        """From the request to the prompts in the volume."""
        return [ReadRequest(self.engine.limits), OpenStudy(self.engine), PromptsToVoxels(), AskWhatIsMarked()]


class SegmentNames(MimoTask):
    """`mimo_segment`: names from the labels -> all of them, on one slice or in the whole volume; without names, all that
    the weights know, if those are few."""

    def __init__(self, engine: Engine, thresholds: Thresholds) -> None:
        said = "MIMO: segment named structures, on one slice or in the volume."
        super().__init__(InferType.SEGMENTATION, 3, said, engine, thresholds, {"label": "", "slice": -1})

    def pre_transforms(self, data: Any = None) -> Chain:
        """From the request to a question for each name."""
        limits = self.engine.limits
        return [ReadRequest(limits), OpenStudy(self.engine), PromptsToPixels(), AskForNames(limits.max_labels)]

    def post_transforms(self, data: Any = None) -> Chain:
        """To a segment for each name that is found."""
        return [Safeguards(self.thresholds), JoinNames(), StackMasks(), LabelMap(), ToVoxels()]


class Ask(MimoTask):
    """`mimo_ask`: a question in words, with or without prompts -> an answer whose phrases are tied to masks.

    Of type segmentation: viewers without a place for text show its `question` among the task's options.
    """

    def __init__(self, engine: Engine, thresholds: Thresholds) -> None:
        said = "MIMO: ask about a slice or the volume in words; the answer's phrases come with masks."
        super().__init__(InferType.SEGMENTATION, 2, said, engine, thresholds, {"question": "", "slice": -1})

    def pre_transforms(self, data: Any = None) -> Chain:
        """From the request to its question."""
        return [ReadRequest(self.engine.limits), OpenStudy(self.engine), PromptsToPixels(), AskInWords()]

    def post_transforms(self, data: Any = None) -> Chain:
        """To as many segments as the answer has phrases."""
        return [Safeguards(self.thresholds), StackMasks(), LabelMap(), ToVoxels()]
