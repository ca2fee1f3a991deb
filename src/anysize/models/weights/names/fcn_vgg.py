"""FCN-32s, 16s and 8s: torchvision's and timm's VGG-16 fit them up to the scores."""

from torch import nn

from anysize.models.weights.layouts import Layout
from anysize.models.zoo.fcn_vgg import Fcn8s, Fcn16s, Fcn32s, vgg16_names

__all__ = ["layouts"]

# The scores of 1,000 classes, which no segmenter wants; torchvision's dense layers are no convolutions.
_LIBRARIES = {
    "torchvision": (frozenset({"classifier.6"}), frozenset({"fc6", "fc7"})),
    "timm": (frozenset({"head.fc"}), frozenset[str]()),
}


def layouts(model: nn.Module) -> list[Layout]:
    """Return the layouts of what fcn32s, fcn16s and fcn8s have in common with VGG-16."""
    if not isinstance(model, Fcn32s | Fcn16s | Fcn8s):
        return []
    found = []
    for library, (ignored, linear) in _LIBRARIES.items():
        names = vgg16_names(library).items()
        modules = {ours.rpartition(".")[0]: theirs.rpartition(".")[0] for ours, theirs in names}
        found.append(Layout(name=library, modules=modules, ignored=ignored, linear=linear))
    return found
