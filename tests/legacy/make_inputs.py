"""What the legacy files were made of: needed to make them, and to read them."""

from __future__ import annotations

import numpy as np

CHANGES = {
    "image_encoder": {"name": "convolutions", "frozen": True},
    "aligner": {"queries": 2, "width": 16, "layers": 1, "heads": 2, "presence": True},
    "language_model": {
        "vocabulary": 300,
        "architecture": {
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "max_position_embeddings": 192,
            "tie_word_embeddings": True,
        },
    },
    "mask_decoder": {
        "width": 16,
        "layers": 1,
        "heads": 2,
        "mlp_width": 16,
        "multimask_outputs": 0,
        "fine": [8, 8, 8, 8, 8],
    },
}
FROZEN = ["mask_decoder", "neck", "prompt_encoder", "language_model", "region_names", "region_token", "input_aligner"]
NAMES = {"left kidney": ("renal",), "liver": ()}


def picture(seed: int) -> np.ndarray:
    """uint8 [40, 48, 3]: a bright square on grey."""
    rng = np.random.default_rng(seed)
    pixels = np.full((40, 48, 3), 20 + 10 * seed)
    y, x = rng.integers(4, 20, size=2)
    pixels[y : y + 14, x : x + 16] = 220
    return pixels.astype(np.uint8)


SPLITS = ("train", "validation", "test")
QUESTIONS = (("Where is the liver?", {}), ("What is at <point>?", {"points": [(20, 12)]}), ("", {"points": [(20, 12)]}))
