"""A `nano` model that writes what a script says, with its own untrained masks and scores; and a small built set in memory."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from torch import Tensor

from monai_mimo.data.tokenizer import train_tokenizer
from monai_mimo.mimoseg.encoding import encode_rle
from monai_mimo.mimoseg.load import FEATURES
from monai_mimo.models import Mimo, load_preset
from monai_mimo.models.language_model import Generated

SCRIPT = [
    "It is the <p> liver </p> <SEG>.",
    "I see the <p> liver </p> <SEG> and the <p> spleen </p> <SEG>.",
    "There is no tumor in this image.",
    "yes",
]
QUESTIONS = {
    1: ["Where is the liver?", "Show the liver and the spleen, please.", "Is there a tumor anywhere in this image?"],
    2: ["What is at <point>?", "What does <box> hold, in one word, if you can say so?"],
    0: ["Is the liver enlarged?"],
}


def scripted_model() -> Mimo:
    """The answer is chosen by the length of the question, so it does not depend on the batch; masks and scores come from real
    states, whose last digits do."""
    torch.manual_seed(0)
    config = load_preset("nano")
    texts = [*SCRIPT, *(q for questions in QUESTIONS.values() for q in questions)]
    model = Mimo(config, train_tokenizer(texts * 4, config.language_model.vocabulary)).eval()
    tokenizer, language = model.tokenizer, model.language_model
    script = [tokenizer(t, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] for t in SCRIPT]

    def generate(embeddings: Tensor, attention_mask: Tensor, max_tokens: int, *_: Any, **__: Any) -> Generated:
        chosen = [script[length % len(script)] for length in attention_mask.sum(1).tolist()]
        longest = max(len(ids) for ids in chosen) + 1
        ids = torch.tensor([ids + [tokenizer.pad_token_id] * (longest - len(ids)) for ids in chosen])
        states = language.states(embeddings, attention_mask)[:, -1:]
        shades = torch.linspace(1, 3, longest)[None, :, None]
        probabilities = torch.sigmoid(states.mean(-1) * shades[..., 0])
        return Generated(ids, probabilities, states * shades)

    language.generate = generate  # type: ignore[method-assign]
    return model


def small_set(images: int = 7, broken: int | None = None) -> Dataset:
    """Questions of three perspectives about some images of two modalities, two sources and several patients; the file of image
    `broken` is cut off."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(images):
        h, w = 40 + 3 * number, 56
        masks = {}
        for phrase in ("liver", "spleen"):
            mask = np.zeros((h, w), dtype=bool)
            y, x = rng.integers(0, 20, 2)
            mask[y : y + 20 + number, x : x + 25] = True
            masks[phrase] = {"phrase": phrase, "mask": encode_rle(mask), "label": ""}
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (h, w, 3), dtype=np.uint8)).save(file, format="PNG")
        encoded = file.getvalue()[:60] if number == broken else file.getvalue()
        entities = {
            QUESTIONS[1][0]: [masks["liver"]],
            QUESTIONS[1][1]: [masks["liver"], masks["spleen"]],
            QUESTIONS[2][0]: [masks["liver"]],
            QUESTIONS[2][1]: [masks["spleen"]],
        }
        for perspective, questions in QUESTIONS.items():
            for place, question in enumerate(questions):
                closed = perspective == 0
                rows.append(
                    {
                        "id": f"{number}-{perspective}-{place}",
                        "image": {"bytes": encoded, "path": None},
                        "image_id": str(number),
                        "size": [h, w],
                        "modality": ("CT", "MR")[number % 2],
                        "source": ("a", "b")[number % 3 == 0],
                        "patient": f"patient {number // 2}",
                        "slice": -1,
                        "sequence": "",
                        "spacing_mm": [],
                        "perspective": perspective,
                        "question": question,
                        "answer": "yes"
                        if closed
                        else " ".join(f"<p> {e['phrase']} </p> <SEG>" for e in entities.get(question, []))
                        or "There is none.",
                        "entities": entities.get(question, []),
                        "absent": ["tumor"] if "tumor" in question else [],
                        "points": [[9, 9, 1]] if "<point>" in question else [],
                        "boxes": [[4, 4, 16, 18]] if "<box>" in question else [],
                        "template": "vqa-rad/closed" if closed else "one/0/0",
                        "value": {"kind": "", "answer": ""},
                        "file": f"{number}.png",
                        "builder": "0",
                    }
                )
    return Dataset.from_list(rows, features=FEATURES)
