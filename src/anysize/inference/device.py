"""Where a model runs."""

import torch

from anysize.errors import UsageError

__all__ = ["choose_device"]


def choose_device(name: str) -> torch.device:
    """Return the device of that name; 'auto' is a GPU where there is one.

    Raises:
        UsageError: no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--device {name} cannot be used: {reason}", hint="use --device auto or cpu") from error
    return device
