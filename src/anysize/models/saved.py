"""A trained model on disk: weights as safetensors, and beside them a JSON card with all that is needed to use them."""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from anysize.atomic import atomic_path, write_text
from anysize.errors import CheckpointError, UsageError
from anysize.models.group_norm import with_group_norm
from anysize.models.registry import build_model
from anysize.models.weights.layouts import OURS
from anysize.models.weights.misfit import differences, misfit
from anysize.models.weights.torch_files import mark

__all__ = ["ModelCard", "find_card", "load_model", "read_card", "save_model"]

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What a file of weights does not say by itself."""

    model: str
    """Name for `create_model`."""
    classes: tuple[str, ...]
    """Class names in the order of the logits."""
    in_channels: int
    """1 for grey, 3 for colour."""
    mean: tuple[float, ...]
    """Per channel, in 0..255: subtracted from the pixels before they are divided by ``std``."""
    std: tuple[float, ...]
    """Per channel, in 0..255."""
    smallest_side: int
    """Pixels: the smallest image side that the network takes."""
    max_side: int | None = None
    """Pixels: images with a longer side are shrunk to it; None leaves every image at its native size."""
    model_kwargs: dict[str, Any] = field(default_factory=dict)
    """The network's own options."""
    norm: Literal["batch", "group"] = "batch"
    """'group': each batch normalisation of the network gave way to a group normalisation."""
    palette: tuple[tuple[int, int, int], ...] = ()
    """Of a segmenter, (red, green, blue) of each class, for drawing."""
    results: dict[str, float] = field(default_factory=dict)
    """Validation results of these weights."""


def save_model(path: Path, model: nn.Module, card: ModelCard) -> None:
    """Write ``path`` (.safetensors) and the card beside it (.json), each atomically."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    # The weights come first: a card without weights says that it is incomplete, old weights under a new card do not.
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata=mark(OURS))
    finite = {name: value for name, value in card.results.items() if math.isfinite(value)}  # JSON has no NaN
    card_json = {"format": FORMAT, **dataclasses.asdict(dataclasses.replace(card, results=finite))}
    write_text(path.with_suffix(".json"), json.dumps(card_json, indent=2, allow_nan=False) + "\n")


def load_model(path: Path) -> tuple[nn.Module, ModelCard]:
    """Rebuild the network that ``path`` (.safetensors, its card beside it) holds, in evaluation mode.

    Raises:
        CheckpointError: a file is missing, damaged, or does not fit the network that the card names.
    """
    card = read_card(path.with_suffix(".json"))
    if not path.is_file():
        raise CheckpointError(f"there are no weights at {path}", hint="pass a run folder or a .safetensors file")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error
    try:
        # Whatever the card says, it makes nobody download anything.
        model = build_model(
            card.model, num_classes=len(card.classes), in_channels=card.in_channels, options=card.model_kwargs
        )
    except (UsageError, TypeError) as error:
        reason = error.message if isinstance(error, UsageError) else error
        raise CheckpointError(
            f"the card {path.with_suffix('.json')} names a network that cannot be built: {reason}",
            hint="use the card as it was written, with the version of anysize that wrote it or a later one",
        ) from error
    if card.norm == "group":
        with_group_norm(model)
    check_fit(path, model.state_dict(), tensors)
    model.load_state_dict(tensors)
    return model.eval(), card


def check_fit(path: Path, wanted: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    """Compare two state dicts by name and shape.

    Raises:
        CheckpointError: lists what is missing, unexpected, or of another shape.
    """
    lines = differences(wanted, found)
    if lines:
        raise misfit(path, lines, hint="use the weights and the .json card of one and the same run")


def find_card(weights: Path) -> ModelCard | None:
    """Read the card beside weights, if there is one; another program's .json of that name is none.

    Raises:
        CheckpointError: the card is damaged, or of another version.
    """
    path = weights.with_suffix(".json")
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
    return read_card(path) if isinstance(content, dict) and "format" in content else None


def read_card(path: Path) -> ModelCard:
    """Read the card (.json) that was written beside weights.

    Raises:
        CheckpointError: it is missing, or not a card.
    """
    if not path.is_file():
        raise CheckpointError(
            f"there is no card at {path}", hint="weights need the .json file that was written beside them"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        written = content.pop("format")
        if written != FORMAT:
            raise CheckpointError(f"{path} has format {written}; this version of anysize reads format {FORMAT}")
        for name in ("classes", "mean", "std"):
            content[name] = tuple(content[name])
        content["palette"] = tuple(tuple(color) for color in content.get("palette", ()))
        return ModelCard(**content)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a model card of anysize: {error}") from error
