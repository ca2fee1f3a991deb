"""``torch.compile(fullgraph=True)`` on ragged batches: one compilation a canvas whatever the sizes, same values.

    python benchmarks/compilation.py [--backend inductor] [--only resnet18] [--output FILE]

Three canvases, two batches of different sizes on each, evaluation and training: prints how many graphs were compiled
(three are right), the largest deviation of values and weight gradients from eager mode, and the seconds.
"""

import argparse
import copy
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch._dynamo
from torch import Tensor

from anysize import RaggedBatch
from anysize.models.named import named_model

MODELS = {
    "resnet18": "torchvision:resnet18",
    "xception41": "timm:xception41",
    "deeplabv3plus": "smp:DeepLabV3Plus/resnet34",
}
# Multiples of 16: smp's decoders refuse other images, alone or together.
CANVASES = ((96, 128), (128, 96), (112, 112))
SIZES = (((96, 80), (64, 128), (80, 96)), ((64, 64), (96, 128), (48, 112)))


@dataclass
class Result:
    """One model in one mode."""

    model: str
    mode: str
    backend: str
    graphs: int
    canvases: int
    value_error: float
    gradient_error: float
    seconds_to_compile: list[float]


def images_for(canvas: tuple[int, int], sizes: Sequence[tuple[int, int]], seed: int) -> RaggedBatch:
    generator = torch.Generator().manual_seed(seed)
    fitted = [(min(h, canvas[0]), min(w, canvas[1])) for h, w in sizes]
    return RaggedBatch.from_images([torch.randn(3, *size, generator=generator) for size in fitted], canvas=canvas)


def maps_of(output: Any) -> list[Tensor]:
    return output.unbind() if isinstance(output, RaggedBatch) else list(output)


def error(mine: Sequence[Tensor], truth: Sequence[Tensor]) -> float:
    scale = max(float(value.detach().abs().max()) for value in truth)
    return max(float((a - b).detach().abs().max()) for a, b in zip(mine, truth, strict=True)) / scale


def gradients(model: torch.nn.Module, output: Any) -> list[Tensor]:
    model.zero_grad()
    sum(value.square().mean() for value in maps_of(output)).backward()
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


def check(name: str, mode: str, backend: str, canvases: Sequence[tuple[int, int]] = CANVASES) -> Result:
    """Compile one model and compare it with itself."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = named_model(MODELS[name]).train(mode == "training").double()
    eager = copy.deepcopy(model)
    graphs = 0

    def counting(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        nonlocal graphs
        graphs += 1
        return torch._dynamo.lookup_backend(backend)(graph, inputs)

    compiled = torch.compile(model, fullgraph=True, dynamic=False, backend=counting)
    value_errors, gradient_errors, seconds = [], [], []
    for canvas in canvases:
        for seed, sizes in enumerate(SIZES):
            started = time.perf_counter()
            got = compiled(images_for(canvas, sizes, seed).double())
            grads = gradients(model, got) if mode == "training" else []
            if seed == 0:
                seconds.append(time.perf_counter() - started)
            truth = eager(images_for(canvas, sizes, seed).double())
            value_errors.append(error(maps_of(got), maps_of(truth)))
            if mode == "training":
                gradient_errors.append(error(grads, gradients(eager, truth)))
    return Result(
        name, mode, backend, graphs, len(canvases), max(value_errors), max(gradient_errors, default=0.0), seconds
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=MODELS, action="append")
    parser.add_argument("--mode", choices=("evaluation", "training"), action="append")
    parser.add_argument("--backend", default="inductor")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    print(f"# torch {torch.__version__}, {torch.get_num_threads()} threads: {' '.join(sys.argv)}")
    results = []
    for name in options.only or MODELS:
        for mode in options.mode or ("evaluation", "training"):
            result = check(name, mode, options.backend)
            results.append(result)
            seconds = ", ".join(f"{value:.0f}" for value in result.seconds_to_compile)
            print(
                f"{result.backend} {name:14} {mode:10} {result.graphs} graphs for {result.canvases} canvases; "
                f"values {result.value_error:.1e}, gradients {result.gradient_error:.1e}; compiled in {seconds} s",
                flush=True,
            )
    if options.output:
        options.output.write_text(json.dumps([asdict(result) for result in results], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
