"""Turn a classifier with a dense head into a fully convolutional network (Long, Shelhamer and Darrell 2015, 3.1)."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node, Tracer
from torch.nn import functional

from anysize.errors import AnysizeError, ImageSizeError, UsageError
from anysize.models.dense_head import Shapes, adaptive_grid, rewrite_head, where
from anysize.models.fixed_size import FixedSize

__all__ = ["convolutionalize"]

_LARGEST_NATIVE = 512
_DROPOUTS = {
    functional.alpha_dropout: nn.AlphaDropout,
    functional.dropout: nn.Dropout,
    functional.dropout2d: nn.Dropout2d,
}
_TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-3, torch.float16: 5e-2, torch.bfloat16: 1e-1}


def convolutionalize(model: nn.Module, *, size: int | tuple[int, int] | None = None) -> nn.Module:
    """Return a copy of a classifier whose dense layers are convolutions with the same weights: a heat map, any size.

    A dense layer over a flattened map of C x h x w is a convolution with an h x w window that fits once; those behind
    it are 1x1 convolutions. So the copy takes every image from the native size up, (B, C, H, W), and answers with a map
    (B, K, H', W'), one answer for each native-sized window at the network's stride. At the native size the map is 1x1,
    and ``copy(images)[:, :, 0, 0]`` is ``model(images)``.

    Without padding in its convolutions and pools the map *is* the network run on every window alone, up to rounding.
    With padding, a window alone sees zeros beyond its border, layer after layer, and within a larger image the pixels
    that are there, so the answers differ. In VGG-16 (13 padded convolutions, the last on 14x14 positions) that is no
    small thing: with random weights, on 288x288 pixels of noise, by 35 to 41 % of the answers (root mean square; two
    seeds). What was trained on windows may be the better for some training on larger images, as in the paper.

    Adaptive pools become what they are at the native size: nothing where the map has the size of their grid (VGG,
    AlexNet), else a pool with a fixed window; a global average becomes one that slides by one position. BatchNorm1d
    behind a dense layer becomes BatchNorm2d. Dropout stays, and drops each position's units by themselves.

    Pools in ceil_mode must have windows that fit at the native size; the copy rounds down, so that it answers for whole
    windows only.

    The copy is an ordinary module with the state dict keys of the layers that ``model`` runs (dense weights (K, C*h*w)
    are (K, C, h, w)), in the same mode, trainable, and takes ragged batches. It shares no memory with ``model``.

    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 13 * 13, 10))
    >>> model(torch.zeros(1, 1, 28, 28)).shape, convolutionalize(model)(torch.zeros(1, 1, 30, 64)).shape
    (torch.Size([1, 10]), torch.Size([1, 10, 2, 19]))

    Args:
        model: a classifier that `torch.fx` can trace: no Python branches on sizes or values. Its head is made of
            flattening, `nn.Linear`, activations, dropout and batch normalisation.
        size: the native size in pixels, (height, width) or one number for both. By default the smallest square that
            the dense layer takes, with adaptive pools doing nothing: all sizes that give the same map make the same
            network. Needed where only a global pool stands before the dense layer: no size is its own.

    Raises:
        UsageError: there is no dense layer, a layer has no convolutional form (it is named), the native size cannot be
            found, or the result's answer at the native size is not the model's: it is compared before it is returned.
    """
    if not any(isinstance(module, nn.Linear) for module in model.modules()):
        raise UsageError(
            f"{type(model).__name__} has no dense layer (nn.Linear): it is convolutional already",
            hint="use it as it is",
        )
    graph = _traced(model)
    channels = _in_channels(graph)
    native = _native_size(graph, channels, size)
    images = torch.randn(2, channels, *native, generator=torch.Generator().manual_seed(0))
    images = images.to(next(model.parameters()))
    with torch.no_grad():
        expected = graph(images)
        rewrite_head(graph, _shapes(graph, channels, native))
        _check(graph, images, expected)
    for name, module in graph.named_modules():
        module.training = _training_of(model, name)
    return graph


class _LeafTracer(Tracer):
    """Take torch's own modules, and ours that only look at sizes, as they are."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, FixedSize) or super().is_leaf_module(m, module_qualified_name)


def _traced(model: nn.Module) -> GraphModule:
    """Trace a copy in evaluation mode; what only training does is refused, but for dropout."""
    base = copy.deepcopy(model)
    try:
        trained = _LeafTracer().trace(base.train())
        graph = GraphModule(base, _LeafTracer().trace(base.eval()), type(model).__name__)
    except AnysizeError:
        raise
    except Exception as error:  # a model may raise anything when its numbers are no numbers
        raise UsageError(
            f"{type(model).__name__} cannot be traced by torch.fx, which finds its layers: {error}",
            hint="take Python branches on sizes and values out of forward, or pass nn.Sequential(features, "
            "nn.Flatten(), classifier)",
        ) from error
    pairs = list(zip(trained.nodes, graph.graph.nodes, strict=False))
    for number, (other, node) in enumerate(pairs):
        if (node.op, str(node.target)) != (other.op, str(other.target)):
            raise _differs(model, node)
        if _arguments(node) != _arguments(other) and not _made_dropout(graph, node, other, number):
            raise _differs(model, node)
    if len(trained.nodes) != len(graph.graph.nodes):
        raise _differs(model, pairs[-1][1])
    graph.recompile()
    return graph


def _arguments(node: Node) -> str:
    """Write what a node is given: other nodes by name, constants by value."""
    return repr((node.args, dict(node.kwargs)))


def _made_dropout(graph: GraphModule, node: Node, trained: Node, number: int) -> bool:
    """Make ``F.dropout(x, p, training=self.training)`` a module: a trace holds on to the mode it was made in.

    Whether it is one: it drops in training, does not in evaluation, and its result is used (in place, it need not be).
    """

    def options(call: Node) -> dict[str, Any]:
        return dict(zip(("input", "p", "training", "inplace"), call.args, strict=False)) | call.kwargs

    evaluated, training = options(node), options(trained)
    modes = (evaluated.get("training"), training.get("training"))
    if node.op != "call_function" or node.target not in _DROPOUTS or not node.users or modes != (False, True):
        return False
    if str(evaluated["input"]) != str(training["input"]):
        return False
    name = f"dropout_{number}"
    graph.add_submodule(name, _DROPOUTS[node.target](training.get("p", 0.5)).eval())
    node.op, node.target, node.args, node.kwargs = "call_module", name, (evaluated["input"],), {}
    return True


def _differs(model: nn.Module, node: Node) -> UsageError:
    return UsageError(
        f"the forward pass of {type(model).__name__} has other layers in training than in evaluation, or other numbers "
        f"in them, from {where(node)} on",
        hint="build it without what only training needs, such as auxiliary heads (aux_logits=False)",
    )


class _Recorder(Interpreter):
    """Run a graph, and note the shape of every tensor."""

    def __init__(self, graph: GraphModule) -> None:
        super().__init__(graph)
        self.shapes: Shapes = {}

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.shapes[n] = result.shape
        return result


def _on_meta(graph: GraphModule) -> GraphModule:
    """Return a copy without memory: shapes only, no arithmetic."""
    tensors = [*graph.parameters(), *graph.buffers()]
    memo: dict[int, Any] = {id(tensor): tensor.detach().to("meta") for tensor in tensors}
    memo |= {id(p): nn.Parameter(memo[id(p)], p.requires_grad) for p in graph.parameters()}
    return copy.deepcopy(graph, memo)


def _in_channels(graph: GraphModule) -> int:
    found = [module.in_channels for module in graph.modules() if isinstance(module, nn.Conv2d)]
    if not found:
        raise UsageError(
            "the network has no nn.Conv2d: nothing of it slides over an image",
            hint="convolutionalize takes classifiers with convolutions before their dense layers",
        )
    return found[0]


def _recorded(graph: GraphModule, channels: int, size: tuple[int, int]) -> Shapes:
    """Return the shapes of a pass over two images of ``size``; ``graph`` is on meta."""
    parameter = next(graph.parameters())
    recorder = _Recorder(graph)
    recorder.run(torch.empty(2, channels, *size, device="meta", dtype=parameter.dtype))
    return recorder.shapes


def _shapes(graph: GraphModule, channels: int, size: tuple[int, int]) -> Shapes:
    """Return the shapes by the nodes of ``graph`` itself."""
    on_meta = _on_meta(graph)
    found = _recorded(on_meta, channels, size)
    return {
        node: found[other] for node, other in zip(graph.graph.nodes, on_meta.graph.nodes, strict=True) if other in found
    }


def _native_size(graph: GraphModule, channels: int, size: int | tuple[int, int] | None) -> tuple[int, int]:
    """Return the size that was asked for, if the network takes it, or find it."""
    on_meta = _on_meta(graph)
    if size is not None:
        height, width = (size, size) if isinstance(size, int) else size
        try:
            _recorded(on_meta, channels, (height, width))
        except (RuntimeError, ValueError) as error:
            raise UsageError(
                f"the network does not take images of {height}x{width} (height x width): {_first_line(error)}",
                hint="pass the size that it was trained at, or leave it out to have it found",
            ) from error
        return height, width
    for side in range(1, _LARGEST_NATIVE + 1):
        try:
            shapes = _recorded(on_meta, channels, (side, side))
        except (RuntimeError, ValueError, ImageSizeError):
            continue
        pools = [pool for node in shapes if (pool := adaptive_grid(node, shapes))]
        if any(after[1:] == (1, 1) for _, after in pools):
            raise UsageError(
                "the network has a global pool, so it takes every size, and none is its native one",
                hint="pass the size that it was trained at: convolutionalize(model, size=(224, 224))",
            )
        if all(before == after for before, after in pools):
            return side, side
    raise UsageError(
        f"no square image of up to {_LARGEST_NATIVE} pixels a side fits the network's dense layer",
        hint="pass its native size: convolutionalize(model, size=(height, width))",
    )


def _check(graph: GraphModule, images: Tensor, expected: Tensor) -> None:
    """Compare with the model at the native size, and see that a larger image gives a map."""
    try:
        found = graph(images)
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            f"the convolutional form does not run at the native size {_format(images)}: {_first_line(error)}",
            hint="write the network as a convolutional one",
        ) from error
    scale = float(expected.abs().max())
    tolerance = _TOLERANCES.get(expected.dtype, 1e-3)
    deviation = float((found[:, :, 0, 0] - expected).abs().max()) if found.shape[2:] == (1, 1) else float("nan")
    if not deviation <= tolerance * scale:  # NaN too
        raise UsageError(
            f"the convolutional form does not give the network's answers at the native size {_format(images)}: "
            f"they are up to {scale:.3g} large and differ by {deviation:.3g}, of shape {tuple(found.shape)}",
            hint="check that the network gives finite answers, the same each time, in evaluation mode",
        )
    larger = (2 * images.shape[2], 3 * images.shape[3])
    try:
        _recorded(_on_meta(graph), images.shape[1], larger)
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            f"the convolutional form does not take an image of {larger[0]}x{larger[1]} (height x width): "
            f"{_first_line(error)}",
            hint="a size of the native image stands in the network's forward; take it out",
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]  # torch.fx adds where it was


def _format(images: Tensor) -> str:
    return f"{images.shape[2]}x{images.shape[3]}"


def _training_of(model: nn.Module, name: str) -> bool:
    """Whether the module of this name trains; a new one does as the model."""
    try:
        return model.get_submodule(name).training
    except AttributeError:
        return model.training
