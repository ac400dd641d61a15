"""Small random checkpoints in the formats of other projects, written by their own classes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from safetensors.torch import load_file, save_file
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from ..conftest import TEXTS

SMALL: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def randomize(module: nn.Module) -> nn.Module:
    """No tensor is all zeros or ones, so that each one that is lost or swapped changes the result."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2)
    return module.eval()


def language_model(folder: Path, model_type: str = "llama", vocabulary: int = 300, **sizes: Any) -> PreTrainedModel:
    """A causal language model and a tokenizer of its own, as `save_pretrained` writes them."""
    known = {"max_position_embeddings": 256, **SMALL, **sizes}
    if model_type in ("llama", "mistral", "qwen2"):
        known.setdefault("num_key_value_heads", 2)
    config = AutoConfig.for_model(model_type, vocab_size=vocabulary, **known)
    model = randomize(AutoModelForCausalLM.from_config(config))
    model.save_pretrained(folder)
    byte_level_tokenizer(vocabulary).save_pretrained(folder)
    return model


def byte_level_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """Of the kind that GPT-2, Qwen and SmolLM2 have, with exactly so many tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|begin|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 4, trainer)
    assert tokenizer.get_vocab_size() == vocabulary
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|begin|>", eos_token="<|end|>")


def as_bin(folder: Path, shards: int) -> None:
    """Replace the safetensors of a folder by what older versions of `transformers` wrote: pickled shards and their index."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(state)
    index = {}
    for number in range(shards):
        file = f"pytorch_model-{number + 1:05d}-of-{shards:05d}.bin"
        part = {name: state[name] for name in names[number::shards]}
        torch.save(part, folder / file)
        index.update(dict.fromkeys(part, file))
    size = sum(value.numel() * value.element_size() for value in state.values())
    text = json.dumps({"metadata": {"total_size": size}, "weight_map": index})
    (folder / "pytorch_model.bin.index.json").write_text(text)


def sentencepiece_tokenizer(folder: Path, vocabulary: int = 330) -> sentencepiece.SentencePieceProcessor:
    """The tokenizer files of Vicuna v1.5: tokenizer.model and no tokenizer.json. All tokens are byte pieces or learned by BPE."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 20),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocabulary,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        num_threads=1,
        minloglevel=2,
    )
    folder.mkdir(exist_ok=True)
    for file in folder.glob("tokenizer*"):
        file.unlink()
    (folder / "tokenizer.model").write_bytes(model.getvalue())

    def token(text: str) -> dict[str, Any]:
        kind = {"__type": "AddedToken", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
        return {**kind, "content": text}

    about = {
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": token("<s>"),
        "clean_up_tokenization_spaces": False,
        "eos_token": token("</s>"),
        "legacy": False,
        "model_max_length": 4096,
        "pad_token": None,
        "padding_side": "right",
        "sp_model_kwargs": {},
        "tokenizer_class": "LlamaTokenizer",
        "unk_token": token("<unk>"),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    (folder / "special_tokens_map.json").write_text(
        json.dumps({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"})
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def sam(width: int = 16, depth: int = 3, heads: int = 2, embed: int = 32, side: int = 64) -> Sam:
    """SAM as its own builder puts it together, at other sizes; 8 heads in the decoder and 16 mask channels as published."""
    grid = side // 16
    return randomize(
        Sam(
            ImageEncoderViT(
                depth=depth,
                embed_dim=embed,
                img_size=side,
                mlp_ratio=4,
                norm_layer=partial(nn.LayerNorm, eps=1e-6),
                num_heads=heads,
                patch_size=16,
                qkv_bias=True,
                use_rel_pos=True,
                global_attn_indexes=[1],
                window_size=3,
                out_chans=width,
            ),
            PromptEncoder(width, (grid, grid), (side, side), 16),
            MaskDecoder(
                num_multimask_outputs=3,
                transformer=TwoWayTransformer(2, width, 8, 32),
                transformer_dim=width,
                iou_head_hidden_dim=width,
            ),
        )
    )


def rewrite(file: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    """Change the tensors of a file in place."""
    if file.suffix == ".safetensors":
        state = load_file(file)
        change(state)
        save_file(state, file, metadata={"format": "pt"})
    else:
        state = torch.load(file, weights_only=True)
        change(state)
        torch.save(state, file)


def damage(file: Path, kind: str, name: str) -> str:
    """Take tensor `name` out of a file, or add another, or cut it; returns the name that an error must tell."""
    if kind == "missing":
        rewrite(file, lambda state: state.pop(name))  # type: ignore[arg-type, return-value]
    elif kind == "unexpected":
        other = f"{name}_too"
        rewrite(file, lambda state: state.update({other: state[name].clone()}))
        return other
    else:
        rewrite(file, lambda state: state.update({name: state[name][..., :-1].contiguous()}))
    return name
