"""Options of a network under which another library's weights do not give that library's values: no name says so."""

import inspect

from torch import nn

from anysize.models.layers.same import SameConv2d, SameMaxPool2d

__all__ = ["other_eps", "other_padding"]


def other_eps(model: nn.Module, library: str, eps: float) -> list[str]:
    """Say where batch normalisation adds something else to the variance than the library does."""
    found = {module.eps for module in model.modules() if isinstance(module, nn.BatchNorm2d)} - {eps}
    if not found:
        return []
    own = ", ".join(f"{value:g}" for value in sorted(found))
    option = ": see norm_eps" if "norm_eps" in inspect.signature(type(model)).parameters else ""
    return [f"{library} adds {eps:g} to the variance in batch normalisation, this network {own}{option}"]


def other_padding(model: nn.Module, library: str) -> list[str]:
    """Say where strided layers pad by the size of the image, as Keras does, and the library's do not."""
    by_size = any(
        isinstance(module, SameMaxPool2d) or (isinstance(module, SameConv2d) and module.pads_by_size)
        for module in model.modules()
    )
    return [f"{library} pads strided layers alike on both sides, this network as Keras: see keras_padding"] * by_size
