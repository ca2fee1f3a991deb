"""What every network of this library says of itself."""

from abc import abstractmethod
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

__all__ = ["Network"]


class Network(nn.Module):
    """A network for images of any size: a plain module, and three facts that no code could guess.

    A subclass sets them as class attributes, or as instance attributes where they depend on its options.
    """

    task: ClassVar[Literal["classify", "segment"]]
    """``classify``: (B, C, H, W) -> logits (B, K). ``segment``: -> maps of logits (B, K, H, W)."""
    stem_name: str
    """Dotted name of the convolution that sees the image, the one layer whose shape depends on ``in_channels``."""
    head_names: tuple[str, ...]
    """Dotted names of the layers whose shapes depend on ``num_classes``."""

    @abstractmethod
    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Turn images (B, C, H, W) into logits."""
