"""A traced classifier with its dense head turned into convolutions: graph in, graph out (see `convolutional`).

The rewriting knows what each layer does to space, and refuses the layers it does not know: a layer that looks at the
whole image (GroupNorm, squeeze-and-excitation) would give another answer on a larger one, and no test at the native
size could tell.
"""

import itertools
import math
import operator
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.nn import functional

from anysize.errors import UsageError
from anysize.models.fixed_size import FixedSize

__all__ = ["adaptive_grid", "rewrite_head", "where"]

Grid = tuple[int, int, int]
Shapes = dict[Node, torch.Size]

_ANYWHERE_MODULES = (
    nn.AlphaDropout, nn.CELU, nn.Dropout, nn.ELU, nn.GELU, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.Identity,
    nn.LeakyReLU, nn.LogSigmoid, nn.Mish, nn.ReLU, nn.ReLU6, nn.SELU, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.Softsign,
    nn.Tanh, nn.Tanhshrink, nn.Threshold,
)  # fmt: skip
"""Number by number: the same on maps as on what was flattened."""
_MAP_MODULES = (
    nn.AvgPool2d, nn.BatchNorm2d, nn.ConstantPad2d, nn.Conv2d, nn.Dropout2d, nn.LPPool2d, nn.LocalResponseNorm,
    nn.MaxPool2d, nn.ReflectionPad2d, nn.ReplicationPad2d, nn.ZeroPad2d,
)  # fmt: skip
"""Each answer from pixels nearby."""
_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    functional.celu, functional.dropout, functional.elu, functional.gelu, functional.hardsigmoid, functional.hardswish,
    functional.hardtanh, functional.leaky_relu, functional.mish, functional.relu, functional.relu6, functional.selu,
    functional.silu, functional.softplus, operator.add, operator.iadd, operator.mul, operator.sub, operator.truediv,
    torch.add, torch.cat, torch.mul, torch.relu, torch.sigmoid, torch.sub, torch.tanh,
)  # fmt: skip
_MAP_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    functional.avg_pool2d, functional.dropout2d, functional.local_response_norm, functional.max_pool2d, functional.pad,
    torch.max_pool2d,
)  # fmt: skip
_POOL_MODULES = (nn.AvgPool2d, nn.LPPool2d, nn.MaxPool2d)
_CEIL_MODE_AT: dict[Any, int] = {functional.avg_pool2d: 4, functional.max_pool2d: 5, torch.max_pool2d: 5}
"""Which argument of a pool says how it rounds."""
_AMPLE = 1 << 16
"""Pixels in which at least one window of any pool fits."""
_METHODS = ("add", "add_", "clone", "contiguous", "mul", "mul_", "relu", "relu_", "sigmoid", "sub", "tanh")
_ADAPTIVE_MODULES = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
_ADAPTIVE_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    functional.adaptive_avg_pool2d,
    functional.adaptive_max_pool2d,
)


def where(node: Node) -> str:
    """Name what a node does and where: ``classifier.0 (LayerNorm)``, ``torch.permute``."""
    if node.op == "call_module":
        return f"{node.target} ({type(_module(node)).__name__})"
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    inside = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values() if path]
    return f"{name} in {inside[-1]}" if inside else str(name)


def adaptive_grid(node: Node, shapes: Shapes) -> tuple[Grid, Grid] | None:
    """Return what an adaptive pool, or a mean over all of space, is given and yields; None for any other node."""
    if not (_is_adaptive(node) or _is_mean(node, shapes)):
        return None
    before, after = shapes[node.all_input_nodes[0]], shapes[node]
    wanted = (int(after[1]), *(after[2:] if len(after) == 4 else (1, 1)))
    return _grid(before), (wanted[0], int(wanted[1]), int(wanted[2]))


def rewrite_head(graph: GraphModule, shapes: Shapes) -> None:
    """Turn every flattening into the identity, and every dense layer into a convolution, in place.

    Args:
        graph: traced; its `nn.Linear` modules are replaced under their names.
        shapes: of all tensors at the native size, two images in the batch.

    Raises:
        UsageError: a layer that has no convolutional form.
    """
    _Rewriting(graph, shapes).run()


class _Rewriting:
    """What is known half way through a graph."""

    def __init__(self, graph: GraphModule, shapes: Shapes) -> None:
        self.graph = graph
        self.shapes = shapes
        self.grids: dict[Node, Grid] = {}
        """Of the tensors that were flat, (B, C*h*w), and are maps now: C, h, w at the native size."""
        self.aliases: dict[Node, Node] = {}
        """Of the tensors that are another one now, such as what was flattened: that one."""
        self.replaced: dict[str, nn.Module] = {}
        self.parameters: dict[tuple[int, Grid], nn.Parameter] = {}

    def run(self) -> None:
        for node in list(self.graph.graph.nodes):
            if node.op in ("placeholder", "output") or node not in self.shapes:
                continue  # numbers, such as x.size(0): they go with the flattening that asked for them
            self._rewrite(node)
        self._check_output()
        for node, source in reversed(self.aliases.items()):  # one may stand for another before it
            node.replace_all_uses_with(source)  # type: ignore[no-untyped-call, unused-ignore]
            self.graph.graph.erase_node(node)
        self.graph.graph.eliminate_dead_code()
        self._check_numbers()
        self.graph.delete_all_unused_submodules()
        self.graph.graph.lint()
        self.graph.recompile()

    def _rewrite(self, node: Node) -> None:
        module = _module(node)
        sources = tuple(source for source in node.all_input_nodes if source in self.shapes)
        if not sources:  # get_attr: a parameter of the network itself
            raise _refusal(node, "a tensor of its own in the midst of the layers")
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise _refusal(
                node,
                "it normalises with the statistics of the whole batch",
                hint="build it with running statistics (track_running_stats=True)",
            )
        first = sources[0]
        was_flat = [source in self.grids for source in sources]
        if any(was_flat) and not all(was_flat):
            raise _refusal(node, "it joins maps and what was flattened")
        if isinstance(module, FixedSize):
            self.aliases[node] = first
        elif self._flattens(node, first):
            self.grids[node] = self._grid_of(first)
            self.aliases[node] = first
        elif type(module) is nn.Linear and first in self.grids:
            self._replace(node, _convolution(module, self.grids[first], self.parameters))
            self.grids[node] = (module.out_features, 1, 1)
        elif any(was_flat):
            self._flat(node, module, sources)
        elif (pooled := adaptive_grid(node, self.shapes)) is not None:
            self._pool(node, first, *pooled)
        else:
            self._map(node, module, sources)

    def _flat(self, node: Node, module: nn.Module | None, sources: tuple[Node, ...]) -> None:
        """Rewrite a layer between flattening and answer."""
        grid = self.grids[sources[0]]
        if len({self.grids[source][1:] for source in sources}) > 1:
            grids = " and ".join("x".join(map(str, self.grids[source])) for source in sources)
            raise _refusal(
                node,
                f"it joins what was flattened from maps of {grids} (channels x height x width), which do not slide "
                "together",
            )
        if self.shapes[node] != self.shapes[sources[0]] and not _is(node, torch.cat):
            raise _refusal(node, "it works on what was flattened, and changes its shape")
        if type(module) is nn.BatchNorm1d and grid[1:] == (1, 1):
            self._replace(node, _batch_norm(module))
        elif (axis := _softmax_axis(node, module)) is not None:
            if axis not in (1, -1) or grid[1:] != (1, 1) or module is None:
                raise _refusal(node, "a softmax must be a module over the classes, nn.Softmax(dim=1)")
            self._replace(node, type(module)(dim=1))
        elif not _is_anywhere(node, module) or not _joins_channels(node):
            raise _refusal(node, "it has no convolutional form behind the flattening")
        channels = int(self.shapes[node][1]) // (grid[1] * grid[2])
        self.grids[node] = (channels, *grid[1:])

    def _map(self, node: Node, module: nn.Module | None, sources: tuple[Node, ...]) -> None:
        """Check a layer before the flattening: it stays as it is."""
        if isinstance(module, nn.PReLU) or _is_anywhere(node, module):
            known = _joins_channels(node)
        else:
            known = type(module) in _MAP_MODULES or node.target in _MAP_FUNCTIONS
        if not known or len(self.shapes[node]) != 4:
            raise _refusal(node, "it is not known to give each answer from the pixels nearby, on an image of any size")
        spaces = {self.shapes[source][2:] for source in sources}
        if len(spaces) > 1:
            raise _refusal(node, "it joins maps of different sizes, as squeeze-and-excitation does: all of the image")
        if type(module) in _POOL_MODULES or node.target in _CEIL_MODE_AT:
            self._round_down(node, module, sources[0])

    def _round_down(self, node: Node, module: nn.Module | None, source: Node) -> None:
        """Take a pool out of ceil_mode where that changes nothing at the native size, so that it answers for whole
        windows only; refuse one that cuts windows at the end of its map."""
        if len(node.all_input_nodes) > 1:
            return  # a size decides its windows: refused in the end
        pool = _rounding_down(node, module)

        def cells(height: int, width: int) -> tuple[int, ...]:
            try:
                return tuple(pool(torch.empty(1, 1, height, width, device="meta")).shape[2:])
            except RuntimeError:  # not one window fits
                return (0, 0)

        height, width = (int(pixels) for pixels in self.shapes[source][2:])
        rows, columns = self.shapes[node][2:]
        if cells(height, width) == (rows, columns):
            return
        tall = next(pixels for pixels in itertools.count(height) if cells(pixels, _AMPLE)[0] == rows)
        wide = next(pixels for pixels in itertools.count(width) if cells(_AMPLE, pixels)[1] == columns)
        raise _refusal(
            node,
            f"in ceil_mode, its last windows hang over the end of its map of {height}x{width}, and are cut there; "
            "within a larger image they would not be",
            hint=f"pass a size at which its map is {tall}x{wide}, where they fit; or build the network without "
            "ceil_mode",
        )

    def _pool(self, node: Node, source: Node, before: Grid, after: Grid) -> None:
        """Replace an adaptive pool by one with the window that it has at the native size."""
        if any(pixels % cells for pixels, cells in zip(before[1:], after[1:], strict=True)):
            raise _refusal(
                node,
                f"at this size it makes a grid of {after[1]}x{after[2]} from a map of {before[1]}x{before[2]}, which "
                "no regular window does",
                hint=f"pass a size at which its map is {after[1]}x{after[2]} or a multiple of it",
            )
        window = (before[1] // after[1], before[2] // after[2])
        # A global pool slides by one; a grid of several cells must be laid out as the dense layer wants it.
        stride = tuple(1 if cells == 1 else length for length, cells in zip(window, after[1:], strict=True))
        self.aliases[node] = source
        if window != (1, 1):
            is_max = isinstance(_module(node), nn.AdaptiveMaxPool2d) or _is(node, functional.adaptive_max_pool2d)
            function = functional.max_pool2d if is_max else functional.avg_pool2d
            with self.graph.graph.inserting_before(node):
                pooled = self.graph.graph.call_function(function, (source, window, stride))
            self.shapes[pooled] = torch.Size((2, *after))
            self.aliases[node] = pooled
        if len(self.shapes[node]) == 2:  # a mean over space that drops its axes
            self.grids[node] = after

    def _flattens(self, node: Node, source: Node) -> bool:
        """Whether a node turns (B, C, h, w) into (B, C*h*w), in this order, however that is spelled."""
        names = ("flatten", "view", "reshape")
        spelled = isinstance(_module(node), nn.Flatten) or (
            node.target in names if node.op == "call_method" else node.target in (torch.flatten, torch.reshape)
        )
        return spelled and self.shapes[node] == (2, math.prod(self._grid_of(source)))

    def _grid_of(self, node: Node) -> Grid:
        return self.grids[node] if node in self.grids else _grid(self.shapes[node])

    def _replace(self, node: Node, module: nn.Module) -> None:
        target = str(node.target)
        if target in self.replaced:
            raise _refusal(node, "it is used more than once")
        self.replaced[target] = module
        self.graph.set_submodule(target, module)

    def _check_output(self) -> None:
        (output,) = self.graph.graph.find_nodes(op="output")
        (answer,) = output.args
        if not isinstance(answer, Node) or self.grids.get(answer, (0, 0, 0))[1:] != (1, 1):
            raise UsageError(
                "the network's output is not the answer of a dense layer, (B, K)",
                hint="convolutionalize takes classifiers that end in nn.Linear",
            )

    def _check_numbers(self) -> None:
        for node in self.graph.graph.nodes:
            if node.op not in ("placeholder", "output") and node not in self.shapes:
                raise _refusal(node, "a size decides what is computed, and it would be another on a larger image")


def _module(node: Node) -> nn.Module | None:
    if node.op != "call_module":
        return None
    owner = node.graph.owning_module
    return None if owner is None else owner.get_submodule(str(node.target))


def _grid(shape: torch.Size) -> Grid:
    _, channels, height, width = shape if len(shape) == 4 else (*shape, 1, 1)
    return int(channels), int(height), int(width)


def _is(node: Node, *functions: Callable[..., Any]) -> bool:
    return node.op == "call_function" and node.target in functions


def _is_adaptive(node: Node) -> bool:
    return isinstance(_module(node), _ADAPTIVE_MODULES) or _is(node, *_ADAPTIVE_FUNCTIONS)


def _is_mean(node: Node, shapes: Shapes) -> bool:
    """Whether a node is ``x.mean((2, 3))``, with or without ``keepdim``."""
    if not _is(node, torch.mean) and (node.op, node.target) != ("call_method", "mean"):
        return False
    before, after = shapes[node.all_input_nodes[0]], shapes[node]
    return len(before) == 4 and tuple(after) in (tuple(before[:2]), (*before[:2], 1, 1))


def _is_anywhere(node: Node, module: nn.Module | None) -> bool:
    if module is not None:
        return type(module) in _ANYWHERE_MODULES
    known: tuple[Any, ...] = _METHODS if node.op == "call_method" else _FUNCTIONS
    return node.target in known


def _joins_channels(node: Node) -> bool:
    """Whether a node is no concatenation, or one along channels."""
    if not _is(node, torch.cat):
        return True
    axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis", 0))
    return bool(axis == 1)


def _rounding_down(node: Node, module: nn.Module | None) -> Callable[[Tensor], Tensor]:
    """Take a pool out of ceil_mode, in place, and return it."""
    if isinstance(module, _POOL_MODULES):
        module.ceil_mode = False
        return module
    function: Any = node.target
    before, at = node.args, _CEIL_MODE_AT[function]
    if len(before) > at:
        node.args = (*before[:at], False, *before[at + 1 :])
    else:
        node.kwargs = {**node.kwargs, "ceil_mode": False}
    options = {name: value for name, value in node.kwargs.items() if name != "input"}
    return lambda maps: cast(Tensor, function(maps, *node.args[1:], **options))


def _softmax_axis(node: Node, module: nn.Module | None) -> int | None:
    if isinstance(module, nn.Softmax | nn.LogSoftmax):
        return module.dim if module.dim is not None else 1
    return 0 if _is(node, functional.softmax, functional.log_softmax, torch.softmax, torch.log_softmax) else None


def _convolution(linear: nn.Linear, grid: Grid, known: dict[tuple[int, Grid], nn.Parameter]) -> nn.Conv2d:
    """Return the convolution with a window of the whole map: (out, C*h*w) weights -> (out, C, h, w)."""

    def reshaped(parameter: Tensor) -> nn.Parameter:
        # Layers that shared a parameter share it still.
        weight = nn.Parameter(parameter.detach().reshape(-1, *grid), parameter.requires_grad)
        return known.setdefault((id(parameter), grid), weight)

    convolution = nn.Conv2d(grid[0], linear.out_features, grid[1:], bias=linear.bias is not None, device="meta")
    convolution.weight = reshaped(linear.weight)
    if linear.bias is not None:
        convolution.bias = linear.bias
    return convolution.train(linear.training)


def _batch_norm(norm: nn.BatchNorm1d) -> nn.BatchNorm2d:
    """Return the same normalisation for maps: its statistics are over all positions too."""
    result = nn.BatchNorm2d(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    result.__dict__.update({key: dict(norm.__dict__[key]) for key in ("_parameters", "_buffers")})
    return result.train(norm.training)


def _refusal(node: Node, why: str, hint: str | None = None) -> UsageError:
    return UsageError(
        f"{where(node)} cannot be made convolutional: {why}",
        hint=hint
        or "convolutionalize knows convolutions, local pools, activations, dropout, flattening and nn.Linear; "
        "put what is before and behind this layer into an nn.Sequential, or write the network as a convolutional one",
    )
