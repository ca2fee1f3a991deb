"""Weights that others published for networks of this library, by short names."""

from dataclasses import dataclass

__all__ = ["PUBLISHED", "Published"]

_IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
_HALF = ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))


@dataclass(frozen=True, kw_only=True)
class Published:
    """A file on a hub, for 1,000 classes of ImageNet and three channels."""

    source: str
    """For `anysize.load_weights`."""
    model: str
    """The network, for `create_model`; with its default options it gives the values of the library."""
    mean: tuple[float, ...]
    """Per channel, red first, in 0..255: subtracted from the pixels before they are divided by ``std``."""
    std: tuple[float, ...]
    """Per channel, in 0..255."""
    licence: str
    """Of the weights, as their page says."""


def _timm(name: str, model: str, normalisation: tuple[tuple[float, ...], tuple[float, ...]]) -> dict[str, Published]:
    mean, std = normalisation
    return {name: Published(source=f"hf-hub:timm/{name}", model=model, mean=mean, std=std, licence="apache-2.0")}


PUBLISHED: dict[str, Published] = {
    **_timm("mobilenetv2_100.ra_in1k", "mobilenet_v2", _IMAGENET),
    **_timm("resnet18.a1_in1k", "resnet18", _IMAGENET),
    **_timm("resnet50.a1_in1k", "resnet50", _IMAGENET),
    **_timm("xception41.tf_in1k", "xception41", _HALF),
    **_timm("xception65.ra3_in1k", "xception65", _HALF),
    **_timm("xception71.tf_in1k", "xception71", _HALF),
}
"""By the names that timm gives them. A path of the same name is written ``./NAME``."""
