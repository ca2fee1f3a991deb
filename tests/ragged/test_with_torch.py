"""What people do with models and batches besides calling them: autocast, compile, checkpointing, hooks, workers..."""

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch._dynamo
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader

from anysize.ragged import Padding, RaggedBatch
from oracle import OneByOne, poisoned, random_images, randomise, relative_error

SIZES = ((9, 14), (13, 7), (8, 8), (5, 17))
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")),
]


class Net(nn.Module):
    """A bit of everything: strided, depthwise, batch norm, pooling, a gate, a skip, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(True))
        self.branch = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8), nn.BatchNorm2d(8), nn.SiLU(), nn.Conv2d(8, 8, 1)
        )
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Sigmoid())
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.head = nn.Linear(8, 4)

    def forward(self, images: Any) -> Any:
        maps = self.stem(images)
        maps = maps + self.branch(maps) * self.gate(maps)
        return self.head(self.pool(maps).mean((2, 3)))


def images_of(device: str = "cpu", dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [image.to(device, dtype) for image in random_images(SIZES, 3)]


def truth_of(model: nn.Module) -> Tensor:
    """Logits in float64 on the CPU, one image at a time."""
    model = copy.deepcopy(model).double().cpu()
    return torch.cat(model(OneByOne([image[None] for image in images_of()])).images)


def gradients(model: nn.Module, logits: Tensor) -> list[Tensor]:
    model.zero_grad()
    logits.square().sum().backward()
    return [parameter.grad.double().cpu() for parameter in model.parameters() if parameter.grad is not None]


def close(mine: list[Tensor], truth: list[Tensor], tolerance: float) -> bool:
    scale = max(float(value.abs().max()) for value in truth)
    return len(mine) == len(truth) and all(
        relative_error(a, b, scale) <= tolerance for a, b in zip(mine, truth, strict=True)
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.06), (torch.float16, 0.01)])
@pytest.mark.parametrize("device", DEVICES)
def test_autocast(device: str, dtype: torch.dtype, tolerance: float, training: bool) -> None:
    model = randomise(Net()).to(device).train(training)
    truth = copy.deepcopy(model).double().cpu()
    expected = torch.cat(truth(OneByOne([image[None] for image in images_of()])).images)
    batch = poisoned(RaggedBatch.from_images(images_of(device, torch.float32)), torch.nan)
    with torch.autocast(device, dtype):
        logits = model(batch)
    assert logits.dtype == dtype
    assert relative_error(logits.detach().double().cpu(), expected.detach()) <= tolerance
    assert close(gradients(model, logits.float()), gradients(truth, expected), 3 * tolerance)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("device", DEVICES)
def test_dtypes_and_memory_formats(device: str, dtype: torch.dtype, channels_last: bool) -> None:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = randomise(Net()).to(device, dtype).to(memory_format=layout)
    expected = truth_of(model)
    batch = RaggedBatch.from_images(images_of()).to(device, dtype).to(memory_format=layout)
    maps = model.stem(copy.deepcopy(batch))
    assert maps.canvas.is_contiguous(memory_format=layout)
    model.load_state_dict(model.state_dict())
    logits = model(batch)
    assert logits.dtype == dtype
    assert relative_error(logits.detach().double().cpu(), expected.detach()) <= (
        1e-5 if dtype == torch.float32 else 0.1
    )


def test_padding_in_half_precision_does_not_overflow() -> None:
    """Around the images garbage grows from layer to layer; an infinity there would make NaN of a zero gradient."""
    model = nn.Sequential(*(nn.Conv2d(2, 2, 1) for _ in range(4))).half()
    with torch.no_grad():
        for layer in model:
            layer.weight.fill_(40.0)
            layer.bias.fill_(-39.5)
    # Real pixels of 1/2 are a fixed point; anything else is multiplied by 80 in each layer.
    images = [torch.full((2, *size), 0.5, dtype=torch.float16) for size in SIZES]
    batch = RaggedBatch.from_images(images)
    canvas = torch.where(batch.mask, batch.canvas, torch.tensor(9.0, dtype=torch.float16))
    result = model(RaggedBatch(canvas, batch.sizes, padding=Padding.FINITE))
    assert bool(result.canvas.isfinite().all())
    sum(image.float().sum() * 1e-4 for image in result.unbind()).backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in model.parameters())


class Compiled:
    """How many graphs a function was compiled to."""

    def __init__(self, model: Callable[..., Any], **options: Any) -> None:
        torch._dynamo.reset()
        self.graphs = 0

        def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
            from torch._dynamo.backends.debugging import aot_eager

            self.graphs += 1
            return aot_eager(graph, inputs)

        self.function = torch.compile(model, fullgraph=True, dynamic=False, backend=backend, **options)

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)


@pytest.fixture
def _fresh_dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


# torch's own tracer looks at .grad of every tensor that it meets, the canvas of a batch of leaves included.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.usefixtures("_fresh_dynamo")
@pytest.mark.parametrize("training", [True, False])
def test_compile_makes_one_graph_a_canvas(training: bool) -> None:
    model = randomise(Net().double()).train(training)
    mine = copy.deepcopy(model)
    compiled = Compiled(mine)
    for canvas in ((16, 18), (14, 20)):
        for seed in range(3):
            sizes = [(h - seed, w - 2 * seed) for h, w in SIZES[:3]]
            leaves = [[image.requires_grad_() for image in random_images(sizes, 3, seed=seed)] for _ in range(2)]
            got = compiled(poisoned(RaggedBatch.from_images(leaves[0], canvas=canvas), torch.nan))
            expected = model(RaggedBatch.from_images(leaves[1], canvas=canvas))
            assert relative_error(got.detach(), expected.detach()) <= 1e-12
            assert close(gradients(mine, got), gradients(model, expected), 1e-11)
            assert close([a.grad for a in leaves[0]], [b.grad for b in leaves[1]], 1e-11)
    assert compiled.graphs == 2
    assert close([b.double() for b in mine.buffers()], [b.double() for b in model.buffers()], 1e-12)


@pytest.mark.usefixtures("_fresh_dynamo")
def test_a_compiled_graph_gives_and_takes_batches() -> None:
    first = Compiled(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()).double())
    batch = RaggedBatch.from_images(images_of())
    middle = first(batch)
    assert middle.sizes == SIZES
    eager = first.function._orig_mod(RaggedBatch.from_images(images_of()))
    assert all(torch.allclose(a, b) for a, b in zip(middle.unbind(), eager.unbind(), strict=True))
    assert (middle * 2.0).mean((2, 3)).shape == (4, 4)  # eager code goes on with it


@pytest.mark.usefixtures("_fresh_dynamo")
def test_a_compiled_graph_stops_at_images_that_do_not_fit() -> None:
    """What eager mode refuses with a clear error, a graph can only check while it runs."""

    def add(x: Any, y: Any) -> Any:
        return (x + y).mean((2, 3))

    compiled = Compiled(add)
    one = RaggedBatch.from_images(images_of())
    assert compiled(one, RaggedBatch.from_images(images_of())).shape == (4, 3)
    other = RaggedBatch(one.canvas, ((8, 14), *SIZES[1:]))
    with pytest.raises(RuntimeError, match="differ in size met in a compiled model"):
        compiled(one, other)
    small = Compiled(nn.Conv2d(3, 4, 7).double())
    with pytest.raises(RuntimeError, match="an image is too small for a conv2d of a compiled model"):
        small(one)


def test_checkpointing() -> None:
    model = randomise(Net().double())
    truth = copy.deepcopy(model)
    expected = gradients(truth, truth(RaggedBatch.from_images(images_of())))
    maps = checkpoint(model.stem, RaggedBatch.from_images(images_of()), use_reentrant=False)
    branch = checkpoint(model.branch, maps, use_reentrant=False)
    got = gradients(model, model.head(model.pool(maps + branch * model.gate(maps)).mean((2, 3))))
    assert close(got, expected, 1e-12)


def test_a_checkpoint_of_memory_of_the_users_own() -> None:
    """The forward pass runs twice and must find the batch as it was."""
    model = nn.Sequential(Turned(), nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True)).double()
    canvas = RaggedBatch.from_images(images_of()).canvas
    for grad_before in (False, True):
        leaf = canvas.clone().requires_grad_()
        batch = RaggedBatch(leaf, SIZES)
        with torch.set_grad_enabled(grad_before):
            model(batch)
        checkpoint(model, batch, use_reentrant=False).mean((2, 3)).sum().backward()
        assert leaf.grad is not None
        assert float(leaf.grad.abs().max()) > 0
        assert batch.canvas is leaf


class Turned(nn.Module):
    def forward(self, images: Any) -> Any:
        return images.permute(0, 2, 3, 1).permute(0, 3, 1, 2).chunk(1, 1)[0]


def test_functional_call_and_deepcopy() -> None:
    model = randomise(Net().double()).eval()
    batch = RaggedBatch.from_images(images_of())
    expected = model(batch).detach()
    doubled = {name: value * 2 for name, value in model.named_parameters()}
    other = torch.func.functional_call(model, doubled, (copy.deepcopy(batch),))
    assert relative_error(other.detach(), expected) > 0.1
    assert torch.equal(model(copy.deepcopy(batch)).detach(), expected)
    twin = copy.deepcopy(batch)
    twin.canvas.zero_()
    assert torch.equal(model(batch).detach(), expected)


def test_forward_hooks_see_the_batch() -> None:
    model = randomise(Net().double())
    seen: list[Any] = []
    model.stem[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model.branch.register_forward_hook(lambda _, __, output: seen.append(output))
    grads: list[Tensor] = []

    def watch(_: nn.Module, __: Any, output: RaggedBatch) -> None:
        output.canvas.register_hook(grads.append)

    model.branch.register_forward_hook(watch)
    model(RaggedBatch.from_images(images_of())).sum().backward()
    assert [type(item) for item in seen] == [RaggedBatch, RaggedBatch]
    assert seen[0].sizes == SIZES
    assert grads[0].shape == seen[1].canvas.shape
    changed = model.stem.register_forward_hook(lambda _, __, output: output * 0.0)
    outputs = [model(RaggedBatch.from_images(images_of())).detach() for _ in range(2)]
    assert relative_error(*outputs) == 0
    changed.remove()


@pytest.mark.parametrize("device", DEVICES)
def test_moving(device: str) -> None:
    batch = RaggedBatch.from_images(images_of())
    moved = batch.to(device, torch.float32)
    assert (moved.device.type, moved.dtype, moved.sizes) == (device, torch.float32, SIZES)
    assert all(
        torch.equal(a.double().cpu(), b.float().double()) for a, b in zip(moved.unbind(), images_of(), strict=True)
    )
    assert moved.lengths[0].tensor(moved.device).tolist() == [height for height, _ in SIZES]
    assert batch.to(moved).dtype == torch.float32
    assert batch.to(batch.dtype) is batch
    for name, dtype in {"half": torch.float16, "bfloat16": torch.bfloat16, "float": torch.float32}.items():
        assert getattr(batch, name)().dtype == dtype


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_pinning() -> None:
    pinned = RaggedBatch.from_images(images_of()).pin_memory()
    assert pinned.canvas.is_pinned()
    moved = pinned.to("cuda", non_blocking=True)
    assert all(torch.equal(a.cpu(), b) for a, b in zip(moved.unbind(), images_of(), strict=True))


def test_pinning_moves_every_tensor_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """What page-locked memory does is CUDA's; that nothing is forgotten can be seen without."""
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: self.clone().fill_(1))
    pinned = RaggedBatch.from_images(images_of()).pin_memory()
    assert bool((pinned.canvas == 1).all())
    assert all(bool((length._tensor == 1).all()) for length in pinned.lengths)


def test_pickling() -> None:
    batch = RaggedBatch.from_images(images_of())
    rearranged = batch.with_canvas(batch.canvas, Padding.ZERO)
    for original in (batch, rearranged, RaggedBatch.from_labels([image[0] for image in images_of()])):
        again = pickle.loads(pickle.dumps(original))  # noqa: S301 - our own
        assert (again.sizes, again.layout, again.padding) == (original.sizes, original.layout, original.padding)
        assert all(torch.equal(a, b) for a, b in zip(again.unbind(), original.unbind(), strict=True))


def collate(images: list[Tensor]) -> RaggedBatch:
    return RaggedBatch.from_images(images)


def test_batches_come_out_of_worker_processes() -> None:
    loader = DataLoader(images_of(), batch_size=2, collate_fn=collate, num_workers=2)
    batches = list(loader)
    assert [batch.sizes for batch in batches] == [SIZES[:2], SIZES[2:]]
    maps = [image for batch in batches for image in batch.unbind()]
    assert all(torch.equal(a, b) for a, b in zip(maps, images_of(), strict=True))
