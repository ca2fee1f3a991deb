"""A network as the flags of a command ask for it."""

from torch import nn

from anysize.errors import AnysizeError, UsageError
from anysize.models.registry import build_model
from anysize.pairs import parse_pairs

__all__ = ["model_from_flags"]


def model_from_flags(name: str, model_kwargs: tuple[str, ...], *, num_classes: int, in_channels: int) -> nn.Module:
    """Create the network ``name`` with the options of ``--model-kwargs`` (name=value pairs).

    Raises:
        UsageError: there is no such network, or it cannot be built with these options.
    """
    options = parse_pairs("model-kwargs", model_kwargs)
    try:
        return build_model(name, num_classes=num_classes, in_channels=in_channels, options=options)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        if isinstance(error, AnysizeError):
            raise
        raise UsageError(
            f"{name} cannot be built with --model-kwargs {' '.join(model_kwargs)}: {error}",
            hint="the options of a network are in its docstring: numbers are at least 1",
        ) from error
