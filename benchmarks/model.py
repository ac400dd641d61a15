"""How fast is the model? Seven questions, each a ratio of two ways taken in turn in one process; random weights.

    python benchmarks/model.py [--sizes small|twin] [--layers 30] [--rows first,cache,masks,generate,batch,peer,scaling] [--busy]

`small` has the sizes of EfficientNet-Lite0 and SmolLM2-135M: nearly all of its work is the language model's. `twin` is the preset
`7b` made small: two vision transformers, and about the same share of the operations in each part. On a machine that does other
things too, `--busy` takes one thread and counts the time that it computes, not the time that it waits for its turn.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from torch import Tensor
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Adam

from monai_mimo.data.conversation import IGNORE, EncodedQuestion, QuestionBatch, collate_questions
from monai_mimo.data.feature_cache import EncoderMaps, FeatureCache
from monai_mimo.data.tokenizer import train_tokenizer
from monai_mimo.inference import MimoPredictor
from monai_mimo.losses import MimoLoss, Targets
from monai_mimo.models import Mimo, MimoConfig
from monai_mimo.models.weights import merge_adapter
from monai_mimo.planning.trace import SampleSize, encode, measure, meta_model, trace_step

SAMPLE = SampleSize(question=16, answer=32, points=1, masks=1)
ASKED = "What is at <point> in this image of the abdomen?"
COUNT = 8  # images of a training step, each with a question
ADAPTER = {"rank": 8, "alpha": 8}

SMALL = {
    "preset": "small sizes",
    "image_size": 128,
    "image_encoder": {"name": "efficientnet-lite0", "frozen": True, "pretrained": False},
    "aligner": {"queries": 8, "width": 128, "layers": 2, "heads": 4},
    "language_model": {
        "architecture": {
            "vocab_size": 49152,
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "max_position_embeddings": 2048,
            "tie_word_embeddings": True,
        }
    },
    "lora": ADAPTER,
    "mask_decoder": {"width": 128, "layers": 2, "heads": 4, "mlp_width": 256},
}
TWIN = {
    "preset": "twin of 7b",
    "image_size": 320,
    "image_encoder": {
        "name": "vision-tower",
        "architecture": {
            "model_type": "clip_vision_model",
            "hidden_size": 192,
            "intermediate_size": 768,
            "num_hidden_layers": 3,
            "num_attention_heads": 3,
            "image_size": 112,
            "patch_size": 14,
        },
    },
    "segmentation_encoder": {
        "name": "sam",
        "architecture": {
            "embed_dim": 256,
            "depth": 6,
            "heads": 4,
            "image_size": 320,
            "patch_size": 16,
            "window_size": 14,
            "global_attention": [2, 5],
            "channels": 64,
        },
    },
    "aligner": {"queries": 64, "width": 64, "layers": 2, "heads": 4},
    "language_model": {
        "architecture": {
            "vocab_size": 2000,
            "hidden_size": 256,
            "intermediate_size": 688,
            "num_hidden_layers": 8,
            "num_attention_heads": 8,
            "num_key_value_heads": 8,
            "max_position_embeddings": 2048,
            "tie_word_embeddings": False,
        }
    },
    "lora": ADAPTER,
    "mask_decoder": {"width": 64, "layers": 2, "heads": 4, "mlp_width": 256},
}


def make_config(sizes: str, layers: int | None) -> MimoConfig:
    values = {"small": SMALL, "twin": TWIN}[sizes]
    if layers is not None:
        values["language_model"]["architecture"]["num_hidden_layers"] = layers  # type: ignore[index]
    return MimoConfig.from_dict(values)


class Training:
    """A training step as `train.yaml` does it, and the data of a batch."""

    def __init__(self, config: MimoConfig, sample: SampleSize = SAMPLE, count: int = COUNT) -> None:
        torch.manual_seed(0)
        self.model = Mimo(config, train_tokenizer([], 300)).train()
        self.loss = MimoLoss(phrase_tokens=self.model.phrase_ids)
        self.optimizer = Adam((p for p in self.model.parameters() if p.requires_grad), 1e-5)
        self.take(sample, count)

    def take(self, sample: SampleSize, count: int) -> None:
        """Batches of `count` such samples from here on."""
        side = self.model.config.image_size
        self.questions = self.batch([encode(self.model, sample)] * count)
        self.images = torch.rand(count, 3, side, side)
        self.masks = torch.rand(count * sample.masks, side, side) > 0.5

    def batch(self, questions: list[EncodedQuestion], *, generate: bool = False) -> QuestionBatch:
        pad = self.model.tokenizer.pad_token_id
        return collate_questions(questions, range(len(questions)), pad, generate=generate)

    def value(self, inputs: Tensor | EncoderMaps) -> Tensor:
        return self.loss(self.model(inputs, self.questions), Targets(self.questions.labels, self.masks))

    def step(self, inputs: Tensor | EncoderMaps | None = None) -> None:
        self.optimizer.zero_grad()
        self.value(self.images if inputs is None else inputs).backward()
        self.optimizer.step()

    def peer_step(self) -> None:
        """The same modules, data and losses as LISA (Lai et al. 2024) and GLaMM (Rasheed et al. 2024) use them: one image at a
        time, encoders in every call, logits and their cross-entropy at every token, and a loop over the masks, each decoded
        and compared by itself."""
        model, count, mask = self.model, len(self.images), 0
        self.optimizer.zero_grad()
        for n in range(count):
            question = self.batch([self.encoded])
            with torch.no_grad():
                maps = model.encoder_maps(self.images[n : n + 1])
            features = model.features(maps)
            prompted = model.encode_prompts(features, question)
            embeddings, _, _ = model.embed_inputs(prompted, question)
            states = model.language_model.states(embeddings, question.attention_mask)
            logits = model.language_model.logits(states).float()
            labels = question.labels
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORE)
            for place in torch.nonzero(labels[0] == model.seg_id)[:, 0]:
                row = torch.zeros(1, dtype=torch.long)
                found, score = model.decode_masks(features, prompted, question, row, states[0, place][None])
                truth = self.masks[mask][None, None].float()
                grown = F.interpolate(found[:, None], truth.shape[-2:], mode="bilinear")
                loss = loss + 2 * F.binary_cross_entropy_with_logits(grown, truth) + 0.5 * self.loss.dice(grown, truth)
                both, either = ((grown > 0) & (truth > 0)).sum(), ((grown > 0) | (truth > 0)).sum()
                loss = loss + (score - both / either.clamp(min=1)).square().sum()
                mask += 1
            (loss / count).backward()
        self.optimizer.step()

    encoded: EncodedQuestion


clock: Callable[[], float] = time.perf_counter


def compare(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Seconds of each way, the median of `repeats`, taken in turn so that all meet the same machine, and in another order in each
    turn, for a way that takes much memory makes the one after it slower."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for n in range(repeats + 1):
        for name in random.Random(n).sample(list(ways), len(ways)):
            begin = clock()
            ways[name]()
            if n:  # the first is warming up
                times[name].append(clock() - begin)
    return {name: statistics.median(values) for name, values in times.items()}


def show(what: str, ratio: float, target: str, times: dict[str, float]) -> None:
    ms = ", ".join(f"{name} {1000 * value:.0f} ms" for name, value in times.items())
    print(f"| {what} | {ratio:.2f} x | {target} | {ms} |", flush=True)


def first(config: MimoConfig, repeats: int) -> None:
    """To the first token of an answer about a slice of a CT-like volume: file, encoders and question, or question alone."""
    torch.manual_seed(0)
    model = Mimo(config, train_tokenizer([ASKED] * 5, 2000))  # as few tokens as with a vocabulary of many words
    merge_adapter(model)  # as `from_pretrained` does
    predictor = MimoPredictor(model)
    pixels = np.random.default_rng(0).integers(0, 256, (512, 512), dtype=np.uint8)
    noise = np.random.default_rng(0).normal(0, 200, (32, 32, 16)).astype(np.int16)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "volume.nii.gz"
        nib.save(nib.Nifti1Image(np.kron(noise, np.ones((16, 16, 4), np.int16)), np.eye(4)), file)

        def question() -> None:
            predictor.ask(ASKED, points=[(50, 50)], max_tokens=1)

        def anew() -> None:
            predictor.set_image(pixels)
            question()

        def from_file() -> None:
            predictor.set_image(file, slice=30, modality="CT")
            question()

        predictor.set_image(pixels)
        times = compare({"seen": question, "encoded": anew, "file": from_file}, repeats)
        parts = reading_parts(predictor, repeats)
    shown = ("encoded", "seen")
    show(
        "second question, against encoding again",
        times["encoded"] / times["seen"],
        ">= 5",
        {n: times[n] for n in shown},
    )
    show("second question, against reading and encoding again", times["file"] / times["seen"], ">= 5", times)
    best = times["encoded"] / sum(parts.values())
    show("the same, if only aligner and language model took time; both read the question", best, "report", parts)


def reading_parts(predictor: MimoPredictor, repeats: int) -> dict[str, float]:
    """Seconds that the aligner and the language model take to read a question about the image that was set."""
    model, image = predictor.model, predictor._image
    assert image is not None
    encoded = [predictor.conversation.encode(ASKED, image.resize, [(50, 50, 1)])]
    question = collate_questions(encoded, [0], model.tokenizer.pad_token_id, generate=True)
    with torch.no_grad():
        prompted = model.encode_prompts(image.features, question)
        embeddings, _, _ = model.embed_inputs(prompted, question)
        return compare(
            {
                "aligner": lambda: model.embed_inputs(prompted, question),
                "language model": lambda: model.language_model.states(embeddings, question.attention_mask),
            },
            3 * repeats,
        )


def cache(config: MimoConfig, repeats: int) -> None:
    training = Training(config)
    with tempfile.TemporaryDirectory() as folder:
        store, keys = FeatureCache(folder), [bytes([n]) * 16 for n in range(COUNT)]
        with torch.no_grad():
            store.add(keys, training.model.encoder_maps(training.images))

        def cached() -> None:
            training.step(EncoderMaps.stack([store[key] for key in keys]).to(torch.float32))

        times = compare({"without": training.step, "with": cached}, repeats)
    show("training step, feature cache against none", times["without"] / times["with"], ">= 3", times)


def masks(config: MimoConfig, repeats: int) -> None:
    training, ways = Training(config), {}
    for count in (1, 8):
        sample = SampleSize(SAMPLE.question, 48, SAMPLE.points, count)
        ways[f"{count}"] = lambda sample=sample: (training.take(sample, COUNT), training.step())
    times = compare(ways, repeats)
    show("8 masks an answer against 1, same tokens, training step", times["8"] / times["1"], "<= 1.6", times)
    model = training.model.eval()
    model.zero_grad(set_to_none=True)
    with torch.no_grad():
        features = model.encode(training.images[:1])
        question = training.batch([encode(model, SAMPLE)], generate=True)
        prompted = model.encode_prompts(features, question)
        states = torch.randn(8, model.language_model.width)
        decode = {
            f"{n}": (
                lambda n=n: model.decode_masks(
                    features, prompted, question, torch.zeros(n, dtype=torch.long), states[:n]
                )
            )
            for n in (1, 8)
        }
        times = compare(decode, 5 * repeats)
    show("the mask decoder alone, 8 masks of an image against 1", times["8"] / times["1"], "report", times)


def generate(config: MimoConfig, repeats: int, tokens: int = 32) -> None:
    model = Training(config).model.eval()
    language = model.language_model
    embeddings = torch.randn(1, 48, language.width) * 0.05
    mask = torch.ones(1, 48, dtype=torch.long)

    def plain() -> None:
        ids = language.causal_lm.generate(
            inputs_embeds=embeddings, attention_mask=mask, max_new_tokens=tokens, do_sample=False, pad_token_id=0
        )
        assert ids.shape[1] == tokens

    def ours() -> None:
        assert language.generate(embeddings, mask, tokens).ids.shape[1] == tokens

    times = compare({"plain": plain, "ours": ours}, repeats)
    show(f"our generate against plain, {tokens} tokens", times["plain"] / times["ours"], ">= 0.95", times)


def batch(config: MimoConfig, repeats: int, tokens: int = 16) -> None:
    training = Training(config)
    model = training.model.eval()
    with torch.no_grad():
        features = model.encode(training.images)
    question = encode(model, SAMPLE)
    one, eight = training.batch([question], generate=True), training.batch([question] * 8, generate=True)
    ways = {
        "8 single": lambda: [model.answer(features, one, tokens) for _ in range(8)],
        "batch of 8": lambda: model.answer(features, eight, tokens),
    }
    times = compare(ways, repeats)
    show("batch of 8 questions against 8 single", times["8 single"] / times["batch of 8"], ">= 2", times)


def peer(config: MimoConfig, repeats: int) -> None:
    training = Training(config)
    training.encoded = encode(training.model, SAMPLE)
    with torch.no_grad():
        maps = training.model.encoder_maps(training.images)
    ways = {"peer": training.peer_step, "ours": training.step, "ours with cache": lambda: training.step(maps)}
    times = compare(ways, repeats)
    show("the LISA/GLaMM way against ours with cache", times["peer"] / times["ours with cache"], ">= 3", times)
    show("the LISA/GLaMM way against ours", times["peer"] / times["ours"], ">= 1.5", times)


def scaling(config: MimoConfig, repeats: int) -> None:
    training = Training(config)
    longer = SampleSize(2 * SAMPLE.question, 2 * SAMPLE.answer, SAMPLE.points, SAMPLE.masks)
    kinds = {"batch of 4": (SAMPLE, 4), "batch of 8": (SAMPLE, 8), "texts of twice the length": (longer, 4)}
    ways, memory = {}, {}
    for name, kind in kinds.items():
        training.take(*kind)
        memory[name] = sum(measure(training.model, lambda: training.value(training.images)).saved.values())
        ways[name] = lambda kind=kind: (training.take(*kind), training.step())
    times = compare(ways, repeats)
    for name in list(kinds)[1:]:
        show(
            f"{name}, against {next(iter(kinds))}: time, and {memory[name] / memory['batch of 4']:.2f} x the activations",
            times[name] / times["batch of 4"],
            "report",
            {n: times[n] for n in ("batch of 4", name)},
        )
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for world in (1, 2):
            processes.spawn(_process, (world, config, repeats, folder, clock is time.process_time), nprocs=world)
            found[world] = [torch.load(Path(folder) / f"{world}-{rank}", weights_only=True) for rank in range(world)]
    seconds = {f"{world}": max(t for t, _ in values) for world, values in found.items()}
    peak = {world: max(m for _, m in values) / 2**20 for world, values in found.items()}
    what = (
        f"2 processes (DDP, a core and batch of 4 each) against 1: time, {peak[1]:.2f} and {peak[2]:.2f} GB a process"
    )
    show(what, seconds["2"] / seconds["1"], "report", seconds)


def _process(rank: int, world: int, config: MimoConfig, repeats: int, folder: str, busy: bool) -> None:
    """One of `world` processes; it leaves the median time of a step, and its highest resident memory in kB."""
    import resource

    global clock
    clock = time.process_time if busy else time.perf_counter
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29577")
    dist.init_process_group("gloo", rank=rank, world_size=world)
    training = Training(config, count=4)
    if world > 1:
        training.model = DistributedDataParallel(training.model)  # type: ignore[assignment]
    time_of = compare({"step": training.step}, repeats)["step"]
    torch.save((time_of, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss), Path(folder) / f"{world}-{rank}")
    dist.destroy_process_group()


ROWS = {
    "first": first,
    "cache": cache,
    "masks": masks,
    "generate": generate,
    "batch": batch,
    "peer": peer,
    "scaling": scaling,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", choices=["small", "twin"], default="small")
    parser.add_argument("--layers", type=int, help="of the language model, where minutes are few")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--busy", action="store_true", help="one thread, and the time that it computes")
    options = parser.parse_args()
    global clock
    clock, threads = (time.process_time, 1) if options.busy else (time.perf_counter, options.threads)
    torch.set_num_threads(threads)
    config = make_config(options.sizes, options.layers)
    forward = trace_step(meta_model(config), SAMPLE, 1).forward
    encoders = forward["image_encoder"] + forward.get("segmentation_encoder", 0)
    layers = config.language_model.architecture["num_hidden_layers"]
    print(
        f"{config.preset}: encoders {encoders / 1e9:.2f} GFLOP an image, language model ({layers} layers) "
        f"{forward['language_model'] / 1e9:.2f} GFLOP a question; {threads} thread{'s' * (threads > 1)}, "
        f"medians of {options.repeats} {'in time computed' if options.busy else 'by the clock'}\n"
    )
    print("| what | ratio | target | times |\n|---|---|---|---|", flush=True)
    for name in options.rows.split(","):
        ROWS[name](config, options.repeats)


if __name__ == "__main__":
    main()
