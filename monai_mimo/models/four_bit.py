"""A frozen language model in four bits, so that its adapter trains on a GPU of 24 GB (QLoRA, Dettmers et al. 2023)."""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import nn

from ..errors import InputError
from .mimo import Mimo


def in_four_bits(model: Mimo) -> Mimo:
    """Put the frozen matrices of the language model's layers into NF4 by `bitsandbytes`; call it before the model goes to its
    GPU, for they are converted on the way there. Adapters, embeddings and the output layer stay as they are.

    Raises:
        InputError: there is no CUDA device, no `bitsandbytes`, or the language model is trained itself.
    """
    if not torch.cuda.is_available():
        raise InputError("four_bit", "no CUDA device", "one, for bitsandbytes; leave four_bit out to train without")
    if find_spec("bitsandbytes") is None:
        raise InputError("four_bit", "no package bitsandbytes", "pip install 'monai-mimo[four-bit]'")
    if model.config.lora is None:
        raise InputError("four_bit", "a preset without lora", "a frozen language model, as `lora` makes it")
    return replace_linear(model)


def replace_linear(model: Mimo) -> Mimo:
    """The model with `bitsandbytes.nn.Linear4bit` in place of what `in_four_bits` says."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    causal_lm = model.language_model.causal_lm
    kept = set(causal_lm.get_output_embeddings().modules())  # with what `peft` wraps around them
    for parent in list(causal_lm.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Linear and layer not in kept and not layer.weight.requires_grad:
                new = Linear4bit(
                    layer.in_features,
                    layer.out_features,
                    bias=layer.bias is not None,
                    compute_dtype=torch.bfloat16,
                    quant_type="nf4",
                    device="meta",
                )
                new.weight = Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4", module=new)
                new.bias = layer.bias
                setattr(parent, name, new)
    return model
