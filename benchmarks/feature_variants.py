"""Is training from stored variants of images, loading included, faster than running frozen encoders in each step?

Both train the twin of `benchmarks/model.py` on the same phantom: one changes the images and encodes them, the other reads one of
K stored variants. Prints a table of ratios, and what storing took.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import model as benchmark
import torch
from model import compare, make_config, show
from torch.optim import Adam

from monai_mimo.data.feature_cache import FeatureCache
from monai_mimo.engines import (
    SamplingConfig,
    encode_once,
    load_sets,
    loss_of,
    prepare_batch,
    tokenizer_for,
    training_loader,
)
from monai_mimo.mimoseg import build, parse_source
from monai_mimo.models import Mimo
from monai_mimo.phantom import write_phantom


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", type=int, default=4, metavar="K")
    parser.add_argument("--images", type=int, default=8, help="of a step")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--busy", action="store_true", help="one thread, and the time that it computes")
    options = parser.parse_args()
    if options.busy:
        torch.set_num_threads(1)
        benchmark.clock = time.process_time
    with tempfile.TemporaryDirectory() as work:
        measure(Path(work), options.variants, options.images, options.repeats)


def measure(work: Path, variants: int, images: int, repeats: int) -> None:
    """Build, store, and train in turn."""
    write_phantom(work / "phantom", patients=3, progress=False)
    source = parse_source(f"phantom={work / 'phantom'}")
    build([source], work / "set", slices_per_volume=2, perspectives=(1, 2), progress=False)
    rows = load_sets({"phantom": str(work / "set")}, "train")
    config = make_config("twin", None)
    config = replace(config, language_model=replace(config.language_model, vocabulary=400))
    model = Mimo(config, tokenizer_for(config, rows)).train()
    begin = time.perf_counter()
    features = encode_once(model, rows, work / "features", variants=variants)
    stored = time.perf_counter() - begin
    size = sum(file.stat().st_size for file in (work / "features").rglob("*.safetensors")) / len(features)
    print(f"{len(features)} variants stored, {1000 * stored / len(features):.0f} ms and {size / 1e6:.2f} MB each")
    optimizer = Adam((p for p in model.parameters() if p.requires_grad), 1e-5)
    loss = loss_of(model)
    sampling = SamplingConfig(images_per_batch=images, global_batch=images, questions_per_image=1)

    def steps(store: FeatureCache | None) -> object:
        loader = iter(training_loader(model, rows, sampling, store, variants))

        def step() -> None:
            [batch] = next(loader)
            inputs, targets, _, kwargs = prepare_batch(batch)
            optimizer.zero_grad()
            loss(model(inputs, **kwargs), targets).backward()
            optimizer.step()

        return step

    torch.manual_seed(0)
    times = compare({"encoders": steps(None), "variants": steps(features)}, repeats)
    print("| what | ratio | target | times |\n|---|---|---|---|")
    show(
        f"training step, {variants} stored variants against encoding",
        times["encoders"] / times["variants"],
        ">= 3",
        times,
    )


if __name__ == "__main__":
    main()
