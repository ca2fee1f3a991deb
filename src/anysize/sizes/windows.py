"""Output lengths of sliding windows (convolution and pooling), one axis at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Window", "format_size"]


def format_size(size: Sequence[int]) -> str:
    """Write a size as it is read everywhere in anysize: height first.

    >>> format_size((480, 640))
    '480x640'
    """
    return "x".join(str(length) for length in size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A window that slides along one axis: a convolution's kernel, or a pool's.

    Lengths are in pixels of the operator's input.
    """

    kernel: int
    stride: int = 1
    padding_before: int = 0
    padding_after: int = 0
    dilation: int = 1
    ceil_mode: bool = False

    @property
    def extent(self) -> int:
        """The pixels from the first to the last that one window reads, both counted."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def smallest_input(self) -> int:
        """The shortest input that yields one output or more."""
        # With ceil_mode a window that hangs over the end counts, as long as it starts on a pixel.
        overhang = self.stride - 1 if self.ceil_mode else 0
        return max(1, self.extent - self.padding_before - self.padding_after - overhang)

    def output(self, length: int) -> int:
        """The number of outputs for an input of ``length`` pixels; zero or less where it is too short.

        As documented for ``torch.nn.Conv2d`` and ``torch.nn.MaxPool2d``.

        >>> Window(kernel=3, stride=2, padding_before=1, padding_after=1).output(7)
        4
        >>> Window(kernel=2, stride=2).output(7), Window(kernel=2, stride=2, ceil_mode=True).output(7)
        (3, 4)
        """
        room = length + self.padding_before + self.padding_after - self.extent
        if not self.ceil_mode:
            return room // self.stride + 1
        count = -(-room // self.stride) + 1
        # A last window that would start beyond the input and its left padding is left out.
        return count - 1 * ((count - 1) * self.stride >= length + self.padding_before)

    def transposed(self, length: int) -> int:
        """The number of outputs of a transposed convolution of ``length`` pixels, as for ``torch.nn.ConvTranspose2d``.

        The padding is what is cut off from the output.

        >>> Window(kernel=3, stride=2, padding_before=1, padding_after=1).transposed(4)
        7
        """
        return (length - 1) * self.stride + self.extent - self.padding_before - self.padding_after

    def smallest_transposed_input(self, output_padding: int = 0) -> int:
        """The shortest input that yields one output or more when the convolution is transposed."""
        missing = 1 - self.transposed(1) - output_padding
        return 1 + max(0, -(-missing // self.stride))
