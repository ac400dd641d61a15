"""A training step without data, memory or time: how many bytes it keeps for the backward pass, and how many operations it does.

The model is built on the meta device and its step is run on `FakeTensor`s, which know shapes and no values. What decides shapes,
the token ids, is real.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from ..data.conversation import UNNAMED, EncodedQuestion, collate_questions
from ..data.prompt_maps import POSITIVE
from ..data.tokenizer import PHRASE_END, PHRASE_START, SEG, train_tokenizer
from ..losses import MimoLoss, Targets
from ..models import Mimo, MimoConfig
from ..models.weights import without_pretrained

aten = torch.ops.aten
REST = "prompts, loss"  # what runs in no part that is called as a module


@dataclass(frozen=True)
class SampleSize:
    """One question with its image, in tokens: the words of the question and of the answer, and how many points are given and
    masks asked for. Its sequence has the image's tokens and a frame of a few more."""

    question: int = 40
    answer: int = 80
    points: int = 1
    masks: int = 2


@dataclass(frozen=True)
class Step:
    """What one training step of some samples takes.

    Attributes:
        saved: bytes of the tensors kept from forward to backward pass, of each part; weights do not count.
        forward: floating-point operations of each part in the forward pass (a multiplication and an addition are two);
            backward: of all parts in the backward pass.
        tokens: T, the length of a sequence.
    """

    saved: dict[str, int]
    forward: dict[str, int]
    backward: int
    tokens: int


def parts_of(model: Mimo) -> dict[str, nn.Module]:
    """The parts of a model by the names that users know, each with all its weights."""
    return {name: module for name, module in model.named_children() if any(True for _ in module.parameters())}


def meta_model(config: MimoConfig) -> Mimo:
    """A model of these sizes on the meta device: shapes without weights, in no time."""
    tokenizer = train_tokenizer([], 300)
    with torch.device("meta"):
        return Mimo(without_pretrained(config), tokenizer)


def trace_step(model: Mimo, sample: SampleSize, count: int, *, bfloat16: bool = False, cached: bool = False) -> Step:
    """Run a training step of `count` samples on fakes.

    Args:
        model: on the meta device; its parameters become fakes.
        bfloat16: compute by autocast.
        cached: the encoders' maps are read, not computed.
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    to_fake(model, mode)
    side = model.config.image_size
    with mode:
        images = torch.empty(count, 3, side, side)
        masks = torch.empty(count * sample.masks, side, side, dtype=torch.bool)
    questions = collate_questions([encode(model, sample)] * count, range(count), model.tokenizer.pad_token_id)
    loss = MimoLoss(phrase_tokens=model.phrase_ids)
    with _RealIndices():
        inputs: Any = images
        if cached:
            with torch.no_grad():
                inputs = model.encoder_maps(images)
        return measure(
            model,
            lambda: loss(model(inputs, questions), Targets(questions.labels, masks, questions.presence)),
            bfloat16=bfloat16,
            tokens=questions.input_ids.shape[1],
        )


def measure(model: Mimo, loss: Callable[[], Tensor], *, bfloat16: bool = False, tokens: int = 0) -> Step:
    """Run `loss` and its backward pass, on fakes or real tensors, and note what they take."""
    saved, forward = {REST: 0}, {REST: 0}
    flops = FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION)
    with flops, _noting_parts(model, flops, forward) as current, _noting_saved(model, saved, current):
        with torch.autocast("cpu", torch.bfloat16) if bfloat16 else nullcontext():
            value = loss()
        done = flops.get_total_flops()
        forward[REST] += done - sum(forward.values())
        value.backward()
    model.zero_grad()
    return Step(saved, forward, flops.get_total_flops() - done, tokens)


@contextmanager
def _noting_parts(model: Mimo, flops: FlopCounterMode, forward: dict[str, int]) -> Iterator[list[str]]:
    """Add the operations of each part to `forward`; what is given names the part that runs now, last."""
    current, before = [REST], [0]
    language = model.language_model  # its parts are called, not it
    called = {**parts_of(model), "language_model": None}
    modules = [(n, m) for n, m in called.items() if m is not None]
    modules += [
        ("language_model", m) for m in (language.causal_lm.base_model, language.causal_lm.get_output_embeddings())
    ]

    def enter(name: str) -> Callable:
        def hook(*_: object) -> None:
            current.append(name)
            before.append(flops.get_total_flops())

        return hook

    def leave(*_: object) -> None:
        name = current.pop()
        forward[name] = forward.get(name, 0) + flops.get_total_flops() - before.pop()

    handles = [m.register_forward_pre_hook(enter(name)) for name, m in modules]
    handles += [m.register_forward_hook(leave) for _, m in modules]
    try:
        yield current
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _noting_saved(model: Mimo, saved: dict[str, int], current: list[str]) -> Iterator[None]:
    """Add the bytes of what autograd saves to `saved`, each storage once, whoever saves it first."""
    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights and storage._cdata not in kept:
            kept[storage._cdata] = tensor.detach()  # alive, so that no other storage takes its place
            saved[current[-1]] = saved.get(current[-1], 0) + storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        yield


def encode(model: Mimo, sample: SampleSize) -> EncodedQuestion:
    """A question of that many tokens, whatever they say."""
    ids = model.tokenizer.convert_tokens_to_ids
    word = ids("a")
    before = [model.tokenizer.bos_token_id, *[word] * 4, *[model.image_id] * model.config.aligner.queries]
    question, after = [word] * sample.question + [model.point_id] * sample.points, [word] * 4
    phrases = [ids(PHRASE_START), word, ids(PHRASE_END), ids(SEG)] * sample.masks
    words = [word] * max(0, sample.answer - len(phrases) - 1)
    return EncodedQuestion(
        prompt_ids=[*before, *question, *after],
        instruction_ids=[word] * sample.question,
        coordinates=np.full((sample.points, 2), model.config.image_size / 2, dtype=np.float32),
        labels=np.full(sample.points, POSITIVE),
        is_instruction=[False] * len(before) + [t == word for t in question] + [False] * len(after),
        presence=[UNNAMED] * sample.question,
        asked=[-1] * sample.question,
        answer_ids=[*phrases, *words, model.tokenizer.eos_token_id],
    )


def to_fake(model: nn.Module, mode: FakeTensorMode) -> None:
    """Put fakes on the CPU, where autocast and the choice of attention kernels work, in the place of meta tensors."""
    made: dict[int, Tensor] = {}  # tied weights stay tied
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and not isinstance(parameter.data, FakeTensor):
                if id(parameter) not in made:
                    with mode:
                        fake = torch.empty(parameter.shape, dtype=parameter.dtype)
                    made[id(parameter)] = nn.Parameter(fake, requires_grad=parameter.requires_grad)
                module._parameters[name] = made[id(parameter)]  # type: ignore[assignment]
        for name, buffer in module._buffers.items():
            if buffer is not None and not isinstance(buffer, FakeTensor):
                with mode:
                    module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


class _RealIndices(TorchDispatchMode):
    """Real boolean indices of fakes become real numbers, since their values decide the shape of what is taken."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func in (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default):
            tensor, indices, *rest = args
            numbers: list[Tensor | None] = []
            for index in indices:
                if index is not None and index.dtype == torch.bool and not isinstance(index, FakeTensor):
                    numbers += torch.nonzero(index).unbind(1)
                else:
                    numbers.append(index)
            args = (tensor, numbers, *rest)
        return func(*args, **(kwargs or {}))


def _attention(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(_: Any, query: torch.Size, key: torch.Size, value: torch.Size, *__: Any, **___: Any) -> int:
    return 5 * sdpa_flop_count(query, key, value) // 2  # five products of matrices for two


# torch counts attention by its kernels for GPUs only.
CPU_ATTENTION = {
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
