"""What makes the training on regions fast: the step as it is, against the same step with each of its savings switched off.

    python benchmarks/training_speed.py [--repeats 7] [--images 6] [--targets 4]

`lite` is trained on a phantom, one thread. Times are what the training process computes, so they hold on a machine that does
other things too; a worker draws on a core of its own, and is not counted. Ways are taken in turn in one process.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import model as benchmark
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from monai_mimo.data.region_images import region_images
from monai_mimo.data.regions import RegionBatch, RegionDataset
from monai_mimo.data.step_loader import StepLoader
from monai_mimo.engines import load_sets, tokenizer_for
from monai_mimo.engines.pretraining.encoder import region_loss, with_names
from monai_mimo.mimoseg import build, parse_source
from monai_mimo.models import Mimo, MimoConfig, image_encoder, load_preset
from monai_mimo.phantom import write_phantom

SAVINGS = {
    "worker": "batches drawn by a worker process; drawn between the steps",
    "bfloat16": "bfloat16 in the mask decoder; float32",
    "channels last": "`channels_last` in the encoder; NCHW",
    "folding": "batch norms folded into convolutions; apart",
    "one pass": "one pass of the encoder for all targets and rounds of an image; one for each",
}


class Training:
    """Steps as `pretrain_encoder` does them, `without` some of `SAVINGS`."""

    def __init__(
        self, config: MimoConfig, tokenizer: Any, draw: Callable[[int], RegionBatch], without: tuple[str, ...]
    ) -> None:
        self.draw, self.without, self.number = draw, without, 0
        torch.manual_seed(0)
        with ExitStack() as off:
            if "folding" in without:
                off.enter_context(patch.object(image_encoder, "_fold", lambda module: None))
            self.model = Mimo(config, tokenizer).train()
        for module in self.model.image_encoder.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()  # statistics stay as they are, folded or not
        if "channels last" in without:
            network = self.model.image_encoder.network.to(memory_format=torch.contiguous_format)
            network._conv_stem.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))
        self.optimizer = AdamW((p for p in self.model.parameters() if p.requires_grad), 1e-4, weight_decay=1e-4)

    def step(self) -> None:
        """Draw or take the next batch, the same in all ways, and learn from it."""
        batch = self.draw(self.number)
        self.number += 1
        torch.manual_seed(0)  # the same targets go on to the next round in all ways
        self.optimizer.zero_grad()
        with ExitStack() as off:
            if "bfloat16" in self.without:
                off.enter_context(patch.object(torch, "autocast", lambda *_, **__: nullcontext()))
            if "one pass" in self.without:
                off.enter_context(encoded_each_time(self.model, batch.images))
            region_loss(self.model, batch).backward()
        self.optimizer.step()


@contextmanager
def encoded_each_time(model: Mimo, images: Tensor) -> Iterator[None]:
    """Encode the image of every mask that is decoded, as a model without a split into `encode` and `decode` has to."""
    decode = model.decode

    def again(_: Any, image_index: Tensor, *prompts: Any) -> tuple[Tensor, Tensor]:
        with torch.autocast("cpu", enabled=False):
            features = model.encode(images[image_index])
        return decode(features, torch.arange(len(image_index)), *prompts)

    with patch.object(model, "decode", again):
        yield


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--images", type=int, default=6, help="of a step")
    parser.add_argument("--targets", type=int, default=4, help="of an image")
    options = parser.parse_args()
    torch.set_num_threads(1)
    benchmark.clock = time.process_time
    with tempfile.TemporaryDirectory() as work:
        write_phantom(Path(work) / "phantom", patients=3, progress=False)
        source = parse_source(f"phantom={Path(work) / 'phantom'}")
        build([source], Path(work) / "set", slices_per_volume=4, perspectives=(1, 2), progress=False)
        rows = load_sets({"phantom": str(Path(work) / "set")}, "train")
        config = with_names(load_preset("lite"), rows)
        tokenizer = tokenizer_for(config, rows)
        sizes = {"images_per_batch": options.images, "targets_per_image": options.targets}
        dataset = RegionDataset(region_images(rows), tuple(config.names), config.image_size, **sizes)
        drawn = list(islice(StepLoader(dataset, 1), options.repeats + 1))
        for number in range(len(drawn)):
            dataset[number]  # superpixels are kept, as they are after the first minutes of a run
        ways: dict[str, Callable[[], None]] = {
            name: Training(
                config, tokenizer, dataset.__getitem__ if "worker" in without else drawn.__getitem__, without
            ).step
            for name, without in (
                ("as it is", ()),
                *((saving, (saving,)) for saving in SAVINGS),
                ("all", tuple(SAVINGS)),
            )
        }
        times = benchmark.compare(ways, options.repeats)
    targets = options.images * options.targets
    print(f"| saving; without it | targets/s without it | as it is ({targets / times['as it is']:.1f} targets/s) |")
    print("|---|---|---|")
    for name, what in {**SAVINGS, "all": "all of these; none"}.items():
        print(f"| {what} | {targets / times[name]:.1f} | {times[name] / times['as it is']:.2f} x |")


if __name__ == "__main__":
    main()
