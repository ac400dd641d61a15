"""Ask a model about an image: `set_image` once, then `ask` as often as you like (the pattern of segment-anything)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL.Image import Image as PictureImage
from transformers import CompileConfig

from ..calibration.domain import ImageDomain
from ..calibration.temperature import load_temperature
from ..data.conversation import Scribbles, collate_questions
from ..data.tokenizer import BOX, POINT
from ..errors import InputError, WeightsError
from ..models import Mimo
from ..models.default_weights import find_weights
from ..models.weights import fingerprint, merge_adapter, parameter_counts
from ..transforms import MedicalImage
from ..transforms.grid import Grid
from ..transforms.resize import SquareResize
from .all_structures import all_structures
from .answer import Answer, Entity, TextStream, ground, joined
from .as_asked import as_asked, each_alone
from .encoded_image import EncodedImage
from .encoded_volume import MEMORY, EncodedVolume, join
from .name_guard import NameGuard
from .prompts_alone import outlined
from .question import Question, check_pixels, checked, obeys, shown_by, with_marker
from .safeguards import UNSURE, uncertain_line
from .streaming import stream_answer
from .volume_answer import VolumeAnswer
from .without_words import without_words

UNJUDGED = "I cannot judge that; I can only name, outline and measure."
MERGED_BELOW = 10**9  # parameters of a language model, 4 GB in float32


class MimoPredictor:
    """Answers questions about one image at a time, and keeps the image's features between questions.

    `encode` and `ask_about` do the same without keeping anything here, for callers that hold many images.

    Args:
        model: in evaluation mode.
        weights: what to call its weights in results.
        device: where it runs.
        compiled: write answers by `torch.compile` where the device is one that gains by it (CUDA); the first answer then
            takes long.
    """

    def __init__(
        self, model: Mimo, weights: str = "", device: str | torch.device = "cpu", *, compiled: bool = False
    ) -> None:
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        if compiled:
            model.language_model.compile_config = CompileConfig()
        self.model_info = {"preset": model.config.preset, "weights": weights}
        if model.training_data is not None:
            self.model_info["use"] = model.training_data.strictest
        self.conversation = model.conversation()
        self.names = NameGuard(model.config.names) if model.config.names else None
        self.domain: ImageDomain | None = None  # what the images of training were like
        self.temperature: float | None = None  # calibrates the scores
        self._folder: Path | None = None  # of the weights
        self._image: EncodedImage | None = None
        self._volume: EncodedVolume | None = None

    @classmethod
    def from_pretrained(cls, weights: str | Path | None = None, device: str | torch.device = "cpu") -> MimoPredictor:
        """Load weights by any of their names. On a CPU, the adapter of a small language model is merged into it, which halves the
        time of an answer.

        Args:
            weights: a folder, a name such as "lite", OWNER/NAME on the Hugging Face Hub, or none: the default (`find_weights`).

        Raises:
            WeightsError: there is none, or it is damaged.
        """
        folder = find_weights(weights)
        model = Mimo.from_pretrained(folder)
        if model.config.lora is not None and torch.device(device).type == "cpu" and _is_small(model):
            merge_adapter(model)
        name = folder.name if weights is None or Path(weights).exists() else str(weights)
        predictor = cls(model, f"{name}@{fingerprint(folder)}", device)
        predictor.domain = ImageDomain.load(folder)
        predictor.temperature = load_temperature(folder)
        predictor._folder = folder
        return predictor

    def push_to_hub(self, repository: str, *, private: bool = True, token: str | None = None) -> str:
        """Upload the weights folder that was loaded, with its calibration, to OWNER/NAME on the Hugging Face Hub.

        Returns:
            the address of the commit.

        Raises:
            WeightsError: they were not loaded by `from_pretrained`.
            OutputError: there is no network, or the Hub refuses.
        """
        from ..models.hub import upload  # the client of the Hub is slow to import

        if self._folder is None:
            raise WeightsError("the predictor", "a model without a folder", "one that `from_pretrained` loaded")
        return upload(self._folder, repository, private=private, token=token)

    def set_image(
        self,
        image: str | Path | np.ndarray | PictureImage | MedicalImage,
        slice: int | None = None,
        modality: str | None = None,
        *,
        plane: str = "axial",
        channel: int | None = None,
        series: str | int | None = None,
    ) -> None:
        """Read and encode an image: a file or DICOM folder, an opened `MedicalImage`, an 8-bit image of Pillow, or uint8 pixels
        [h, w] or [h, w, 3].

        Args:
            slice: which slice of a volume, counted from 0.
            modality: of a file that does not tell; it decides how intensities are windowed.
            plane, channel, series: of a volume, a 4-D file, and a DICOM folder with several series; as of `MedicalImage.open`.

        Raises:
            InputError: it cannot be read, or `slice` is not one of it; plane, channel or series of an image that is open.
        """
        self._image = self.encode(image, slice, modality, plane=plane, channel=channel, series=series)

    def encode(
        self,
        image: str | Path | np.ndarray | PictureImage | MedicalImage,
        slice: int | None = None,
        modality: str | None = None,
        *,
        plane: str = "axial",
        channel: int | None = None,
        series: str | int | None = None,
    ) -> EncodedImage:
        """What `set_image` keeps; same arguments and errors."""
        spacing, notes = None, ()
        if isinstance(image, str | Path):
            image = MedicalImage.open(image, plane=plane, modality=modality, channel=channel, series=series)
        elif (plane, channel, series) != ("axial", None, None):
            raise InputError("image", "a plane, channel or series of an image that is open", "them where it is opened")
        if isinstance(image, MedicalImage):
            pixels = image.slice(slice)
            modality, spacing, notes = image.modality, image.spacing_mm, tuple(image.notes)
            slice = slice if image.is_volume else None
        else:
            pixels, slice = check_pixels(image), None
        resize = SquareResize(*pixels.shape[:2], self.model.config.image_size)
        with torch.no_grad():
            maps = self.model.encoder_maps(resize.image(pixels)[None].to(self.device))
            features = self.model.features(maps)
        ood_score = None if self.domain is None else self.domain.ood_score(maps, features).item()
        looks_like = modality or (None if self.domain is None else self.domain.modality(maps, features))
        kept = None if self.model.region_names is None else pixels
        return EncodedImage(features, resize, slice, modality, spacing, notes, kept, looks_like, ood_score)

    def ask(
        self,
        question: str = "",
        points: Sequence[Sequence[float]] = (),
        boxes: Sequence[Sequence[float]] = (),
        scribbles: Scribbles = (None, None),
        mask_input: np.ndarray | None = None,
        *,
        max_tokens: int = 64,
        on_text: Callable[[str], None] | None = None,
    ) -> Answer:
        """Ask about the image that was set.

        Prompts show one object together, unless the question refers to several of them: "What are <box> and <box>?". Without a
        question, the answer outlines what they show, and names it where it has a name.

        Args:
            question: may refer to prompts by `<point>` and `<box>`; others are appended.
            points: (x, y) or (x, y, label), label 1 for inside and 0 for outside, in pixels of the image.
            boxes: (x0, y0, x1, y1) in pixels, inclusive-exclusive.
            scribbles: where it was scribbled inside and outside of the object, bool [h, w] each, or none.
            mask_input: `Entity.logits` of an answer before, to be refined.
            max_tokens: the longest answer.
            on_text: is called with each piece of the text as it is written; what it raises ends the writing and is raised.

        Raises:
            InputError: no image was set, there is neither question nor prompt, the question is too long, a prompt lies outside
                the image, or the model reads no prompts of this kind.
        """
        if self._image is None:
            raise InputError("image", "none", "set_image to be called before ask")
        return self.ask_about(
            self._image, question, points, boxes, scribbles, mask_input, max_tokens=max_tokens, on_text=on_text
        )

    def ask_about(
        self,
        image: EncodedImage,
        question: str = "",
        points: Sequence[Sequence[float]] = (),
        boxes: Sequence[Sequence[float]] = (),
        scribbles: Scribbles = (None, None),
        mask_input: np.ndarray | None = None,
        *,
        max_tokens: int = 64,
        on_text: Callable[[str], None] | None = None,
    ) -> Answer:
        """`ask` about an image that `encode` gave; same arguments and errors."""
        asked = Question(question, points, boxes, scribbles, mask_input)
        [answer] = self.ask_many(image, [asked], max_tokens=max_tokens, on_text=on_text)
        return answer

    def ask_many(
        self,
        image: EncodedImage,
        questions: Sequence[Question | tuple],
        *,
        max_tokens: int = 64,
        on_text: Callable[[str], None] | None = None,
    ) -> list[Answer]:
        """Several questions about one image in one batch, each a `Question` or a tuple that begins like one; same errors as of
        `ask`.

        `on_text` is for one question.
        """
        return self.ask_each([image] * len(questions), questions, max_tokens=max_tokens, on_text=on_text)

    def ask_each(
        self,
        images: Sequence[EncodedImage],
        questions: Sequence[Question | tuple],
        *,
        max_tokens: int = 64,
        on_text: Callable[[str], None] | None = None,
    ) -> list[Answer]:
        """Ask each image a question of its own in one batch; else as `ask_many`."""
        asked = [
            checked(Question(*question), image.resize, self.model, self.names)
            for question, image in zip(questions, images)
        ]
        answers = [self._without_words(image, question) for question, image in zip(asked, images)]
        if on_text is not None and answers[0] is not None:
            on_text(answers[0].text)
        written = [(with_marker(q), image) for q, image, answer in zip(asked, images, answers) if answer is None]
        if not written:
            return [answer for answer in answers if answer is not None]
        encoded = []
        for (text, points, boxes, scribbles, logits), image in written:
            text = text or (f"What is in {BOX}?" if boxes else f"What is at {POINT}?")
            encoded.append(
                self.conversation.encode(text, image.resize, points, boxes, scribbles=scribbles, logits=logits)
            )
        distinct = list({id(image): image for _, image in written}.values())
        place = {id(image): number for number, image in enumerate(distinct)}
        numbers = [place[id(image)] for _, image in written]
        batch = collate_questions(encoded, numbers, self.model.tokenizer.pad_token_id, generate=True)
        changes = self.names is not None  # the text, which is then handed on when it is known
        stream = None if on_text is None or changes else TextStream(self.model.tokenizer, on_text)
        features = join([image.features for image in distinct])
        generated = self.model.answer(features, batch.to(self.device), max_tokens, on_tokens=stream)
        if stream is not None:
            stream.finish()
        small = [None if image.pixels is None else (image.pixels, shown_by(question)) for question, image in written]
        grounded = ground(self.model, generated, [image.resize for _, image in written], self.temperature, small)
        in_words = [
            self._answer(image, *as_asked(self.model, self.names, image, question, *answer))
            if self.model.region_names is None or obeys(question, *answer, self.names)
            else self._answer(image, *outlined(self.model, self.conversation, image, question, self.temperature))
            for (question, image), answer in zip(written, grounded)
        ]
        in_words = [self._each_name(*about, answer) for about, answer in zip(written, in_words)]
        if on_text is not None and changes:
            on_text(in_words[0].text)
        rest = iter(in_words)
        return [next(rest) if answer is None else answer for answer in answers]

    def _each_name(self, question: Question, image: EncodedImage, answer: Answer) -> Answer:
        """The answer, or, where it leaves out a name that a question asks for, those to each name alone, or to its parts."""
        if self.names is None or question.has_prompts:
            return answer
        unjudged = self.names.unjudged(question.text)
        if unjudged:
            answers = self.ask_many(image, [(text,) for text in unjudged])
            return joined([self._answer(image, UNJUDGED, []), *answers])
        _, parts = self.names.parts(question.text) if not answer.entities else ("", [])
        if parts and self.model.region_names is not None:
            found = all_structures(self.model, image, self.temperature, parts)
            return self._answer(image, *found) if found[1] else answer
        alone = self.names.asked_alone(question.text, answer.text)
        return each_alone(image, question, self.ask_many(image, [(text,) for text in alone])) if alone else answer

    def _without_words(self, image: EncodedImage, question: Question) -> Answer | None:
        """The answer to a question that needs no language model, see `without_words`."""
        found = without_words(self.model, self.conversation, self.names, image, question, self.temperature)
        return None if found is None else self._answer(image, *found)

    def _answer(self, image: EncodedImage, text: str, entities: list[Entity]) -> Answer:
        """An answer with what is known of its image, and its warnings."""
        warnings = [uncertain_line(e.phrase, e.score) for e in entities if e.score < UNSURE]
        if image.ood_score is not None and image.ood_score > 1:
            warnings.append(f"this image is unlike those of training ({image.ood_score:.2f} times the limit)")
        size = image.resize.height, image.resize.width
        about = image.slice, image.modality, image.spacing_mm
        return Answer(text, entities, size, *about, warnings, dict(self.model_info), list(image.notes))

    def set_volume(
        self,
        volume: str | Path | np.ndarray | MedicalImage,
        affine: np.ndarray | None = None,
        modality: str | None = None,
        *,
        plane: str = "axial",
        channel: int | None = None,
        series: str | int | None = None,
    ) -> None:
        """Read a volume: a file or DICOM folder, an opened `MedicalImage`, or values [x, y, z] with an affine [4, 4] from voxels
        to RAS millimetres. Its slices are encoded when they are asked about.

        Raises:
            InputError: it cannot be read, has no place in space, or an array comes without an affine.
        """
        if isinstance(volume, np.ndarray):
            if volume.ndim != 3 or affine is None or np.shape(affine) != (4, 4):
                raise InputError("volume", f"an array {list(volume.shape)}", "values [x, y, z] and an affine [4, 4]")
            volume = MedicalImage(Grid(volume, np.asarray(affine, dtype=float)), Path("array"), plane, modality)
        elif not isinstance(volume, MedicalImage):
            volume = MedicalImage.open(volume, plane=plane, modality=modality, channel=channel, series=series)
        self._volume = self.encode_volume(volume)

    def encode_volume(self, image: MedicalImage, memory: int = MEMORY) -> EncodedVolume:
        """What `set_volume` keeps, of an opened image, with at most `memory` bytes of features."""
        return EncodedVolume(self.model, image, self.domain, memory)

    def ask_volume(
        self,
        question: str = "",
        points: Sequence[Sequence[float]] = (),
        boxes: Sequence[Sequence[float]] = (),
        scribbles: np.ndarray | None = None,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> VolumeAnswer:
        """Ask about the volume that was set: a question in words, or what prompts show, but not both.

        Args:
            points: (x, y, z) or (x, y, z, label), voxels of the file from 0; label 1 for inside and 0 for outside.
            boxes: (x0, y0, z0, x1, y1, z1) in voxels, inclusive-exclusive; on one slice if it is one voxel thick.
            scribbles: labels [x, y, z] on the voxels of the file: 1 inside of the object, 2 outside, 0 elsewhere.
            progress: is told (done, of how many) slices.

        Raises:
            InputError: no volume was set, neither or both were given, a prompt lies outside, nothing is shown as inside, or
                the weights have no fine branch and cannot follow prompts.
        """
        if self._volume is None:
            raise InputError("volume", "none", "set_volume to be called before ask_volume")
        return self.ask_about_volume(self._volume, question, points, boxes, scribbles, progress=progress)

    def ask_about_volume(
        self,
        volume: EncodedVolume,
        question: str = "",
        points: Sequence[Sequence[float]] = (),
        boxes: Sequence[Sequence[float]] = (),
        scribbles: np.ndarray | None = None,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> VolumeAnswer:
        """`ask_volume` about a volume that `encode_volume` gave; same arguments and errors."""
        from .volume import ask_volume  # needs scipy, which most answers do not

        return ask_volume(self, volume, question.strip(), points, boxes, scribbles, progress)

    def stream(
        self,
        question: str = "",
        points: Sequence[Sequence[float]] = (),
        boxes: Sequence[Sequence[float]] = (),
        scribbles: Scribbles = (None, None),
        mask_input: np.ndarray | None = None,
        *,
        max_tokens: int = 64,
    ) -> Iterator[str | Answer]:
        """Like `ask`, but give the pieces of the text as they are written, and last the answer, whose text they make.

        Closing the iterator before its end ends the writing.
        """
        prompts = points, boxes, scribbles, mask_input
        return stream_answer(lambda on_text: self.ask(question, *prompts, max_tokens=max_tokens, on_text=on_text))


def _is_small(model: Mimo) -> bool:
    """Whether the language model fits into memory in float32 too."""
    return parameter_counts(model.language_model)[0] < MERGED_BELOW
