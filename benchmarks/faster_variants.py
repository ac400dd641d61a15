"""Ways to make a model answer faster on a CPU, for `fast_inference.py`: each takes a model and gives one that answers like it.

ONNX Runtime is for these measurements alone: pip install onnx onnxruntime
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn
from transformers import CompileConfig, DynamicCache
from transformers.modeling_outputs import BaseModelOutputWithPast

from monai_mimo.models import Mimo
from monai_mimo.models.weights import merge_adapter

CACHE = next(name for name in ("cache", "past_key_values") if name in BaseModelOutputWithPast.__dataclass_fields__)


def as_it_is(model: Mimo) -> Mimo:
    """The model as `Mimo.from_pretrained` gives it: float32, but for a frozen language model that is kept in bfloat16."""
    return model


def autocast(model: Mimo) -> Mimo:
    """Matrix products and convolutions in bfloat16, weights as they are."""
    for name in ("encoder_maps", "features", "answer"):
        setattr(model, name, torch.autocast("cpu", torch.bfloat16)(getattr(model, name)))
    return model


def bfloat16(model: Mimo) -> Mimo:
    """Image encoder and language model with weights and arithmetic in bfloat16."""
    model.image_encoder = _Rounded(model.image_encoder)
    model.language_model.model.bfloat16()
    return model


class _Rounded(nn.Module):
    """An encoder in bfloat16 between float32 images and float32 maps."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder.bfloat16()

    def forward(self, images: Tensor) -> list[Tensor]:
        return [m.float() for m in self.encoder(images.bfloat16())]


def int8(model: Mimo) -> Mimo:
    """The linear layers of the language model in int8, the inputs of each quantised as they come. Those of the mask decoder
    read each other's weights (`tokens_to_image`), which a quantised layer does not give; the encoder has none."""
    from torch.ao.quantization import quantize_dynamic

    _whole_in_float32(model)
    quantize_dynamic(model.language_model.model, {nn.Linear}, torch.qint8, inplace=True)
    return model


def compiled_encoder(model: Mimo) -> Mimo:
    """The image encoder by torch.compile."""
    model.image_encoder.compile()
    return model


def compiled_writing(model: Mimo) -> Mimo:
    """The language model's step by torch.compile, with a key-value cache of fixed size, as `MimoPredictor(compiled=True)` does
    on a GPU."""
    model.language_model.compile_config = CompileConfig(mode="default")
    model.language_model.compile_config._compile_all_devices = True
    return model


def onnx_encoder(model: Mimo) -> Mimo:
    """The image encoder by ONNX Runtime."""
    side = model.config.image_size
    encoder = model.image_encoder
    names = [f"map{n}" for n in range(len(encoder.channels))]
    dynamic = {name: {0: "images"} for name in ("image", *names)}
    session = _session(encoder, (torch.zeros(2, 3, side, side),), ["image"], names, dynamic)
    model.image_encoder = _OnnxEncoder(session, encoder)
    return model


def onnx_all(model: Mimo) -> Mimo:
    """Image encoder and language model by ONNX Runtime; what stands between them stays torch's."""
    _whole_in_float32(model)
    decoder = model.language_model.causal_lm.base_model
    decoder.forward = _OnnxDecoder(decoder)
    return onnx_encoder(model)


VARIANTS: dict[str, Callable[[Mimo], Mimo]] = {
    "as it is": as_it_is,
    "bfloat16, autocast": autocast,
    "bfloat16, encoder and language model": bfloat16,
    "int8, language model": int8,
    "torch.compile, encoder": compiled_encoder,
    "torch.compile, language model": compiled_writing,
    "ONNX Runtime, encoder": onnx_encoder,
    "ONNX Runtime, encoder and language model": onnx_all,
}


def _whole_in_float32(model: Mimo) -> None:
    """Without adapter, since what is below replaces the layers that it wraps."""
    if model.config.lora is not None:
        merge_adapter(model)
    model.language_model.model.float()


def _session(
    module: nn.Module, example: tuple[Tensor, ...], inputs: list[str], outputs: list[str], dynamic: dict
) -> object:
    """`module` in ONNX Runtime, on as many threads as torch has."""
    import onnxruntime

    file = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, example, file, input_names=inputs, output_names=outputs, dynamic_axes=dynamic, dynamo=False
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])


class _OnnxEncoder(nn.Module):
    def __init__(self, session: object, encoder: nn.Module) -> None:
        super().__init__()
        self.session, self.channels, self.strides = session, encoder.channels, encoder.strides

    def forward(self, images: Tensor) -> list[Tensor]:
        return [torch.from_numpy(m) for m in self.session.run(None, {"image": images.contiguous().numpy()})]


class _Step(nn.Module):
    """Reads T more tokens: embeddings [Q, T, H], mask [Q, 1, T, S + T], positions [Q, T], and keys and values [Q, heads, S, c] of
    each layer -> states [Q, T, H], and keys and values of the new tokens."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, embeddings: Tensor, mask: Tensor, positions: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        cache, before = DynamicCache(), past[0].shape[2]
        for layer in range(len(past) // 2):
            cache.update(past[2 * layer], past[2 * layer + 1], layer)
        given = {"inputs_embeds": embeddings, "attention_mask": mask, "position_ids": positions, CACHE: cache}
        out = self.decoder(**given, use_cache=True)
        new = [t[:, :, before:] for layer in cache.layers for t in (layer.keys, layer.values)]
        return (out.last_hidden_state, *new)


class _OnnxDecoder:
    """The `forward` of a decoder of `transformers` in `generate`, by ONNX Runtime. It takes and fills the same cache."""

    def __init__(self, decoder: nn.Module) -> None:
        config, self.embed = decoder.config, decoder.embed_tokens
        self.layers, self.heads = config.num_hidden_layers, config.num_key_value_heads
        self.size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        past = [f"{kind}{n}" for n in range(self.layers) for kind in ("key", "value")]
        new = [f"new_{name}" for name in past]
        self.inputs = ["embeddings", "mask", "positions", *past]
        dynamic: dict[str, dict[int, str]] = {
            "embeddings": {0: "questions", 1: "tokens"},
            "mask": {0: "questions", 2: "tokens", 3: "all"},
            "positions": {0: "questions", 1: "tokens"},
            "states": {0: "questions", 1: "tokens"},
            **{name: {0: "questions", 2: "before"} for name in past},
            **{name: {0: "questions", 2: "tokens"} for name in new},
        }
        example = (
            torch.zeros(2, 3, config.hidden_size),
            torch.zeros(2, 1, 3, 8),
            torch.arange(5, 8).expand(2, 3),
            *(torch.zeros(2, self.heads, 5, self.size) for _ in past),
        )
        step = _Step(deepcopy(decoder).eval())
        self.session = _session(step, example, self.inputs, ["states", *new], dynamic)

    def __call__(
        self,
        input_ids: Tensor | None,
        inputs_embeds: Tensor | None,
        attention_mask: Tensor | None,
        position_ids: Tensor,
        **options: object,
    ) -> BaseModelOutputWithPast:
        if inputs_embeds is None:  # after the question
            inputs_embeds = self.embed(input_ids)
        cache = options[CACHE]
        count, tokens = inputs_embeds.shape[:2]
        before = cache.get_seq_length()
        if before:
            past = [t for layer in cache.layers for t in (layer.keys, layer.values)]
        else:
            past = [inputs_embeds.new_zeros(count, self.heads, 0, self.size)] * (2 * self.layers)
        ahead = torch.ones(count, 1, tokens, before + tokens).tril(before)
        if attention_mask is not None:  # there is none where nothing is padded
            ahead = ahead * attention_mask[:, None, None]
        mask = torch.zeros_like(ahead).masked_fill(ahead == 0, torch.finfo(torch.float32).min)
        given = (inputs_embeds, mask, position_ids, *past)
        states, *new = self.session.run(
            None, {name: tensor.contiguous().numpy() for name, tensor in zip(self.inputs, given)}
        )
        for layer in range(self.layers):
            cache.update(*(torch.from_numpy(t) for t in new[2 * layer : 2 * layer + 2]), layer)
        return BaseModelOutputWithPast(last_hidden_state=torch.from_numpy(states), **{CACHE: cache})
