"""The textbook classifier of digits, with a dense head: images of one size only."""

from torch import Tensor, nn

from anysize.models.fixed_size import FixedSize
from anysize.models.network import Network
from anysize.models.registry import register_model

__all__ = ["MnistDense"]


@register_model
class MnistDense(Network):
    """A 3x3 convolution without padding, and two dense layers over all that it saw.

    2,770,634 parameters with one channel and ten classes; 2,769,024 of them, 99.9 %, in the dense layer that knows
    every pixel by its place. That layer is why the network takes one size and no other, and has no answer for a
    larger image: `anysize.convolutionalize` gives it one.

    Args:
        num_classes: K, the number of logits.
        in_channels: C, 1 for grey, 3 for colour.
        image_size: the side of its square images in pixels, 3 and more.

    Raises:
        UsageError: ``image_size`` is less than 3.
        ImageSizeError: ``forward`` was given another size, or mixed sizes.
    """

    task = "classify"
    stem_name = "conv"
    head_names = ("dense2",)

    def __init__(self, num_classes: int, in_channels: int = 1, image_size: int = 28) -> None:
        super().__init__()
        self.fixed_size = FixedSize(image_size, "mnist_dense")
        self.conv = nn.Conv2d(in_channels, 32, 3)
        self.relu = nn.ReLU(inplace=True)
        self.flatten = nn.Flatten()
        self.dense1 = nn.Linear(32 * (image_size - 2) ** 2, 128)
        self.dense2 = nn.Linear(128, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Classify images: (B, C, S, S), S the ``image_size`` -> logits (B, K), for a softmax in the loss."""
        maps = self.relu(self.conv(self.fixed_size(images)))  # (B, 32, S - 2, S - 2)
        hidden = self.relu(self.dense1(self.flatten(maps)))  # (B, 128)
        logits: Tensor = self.dense2(hidden)  # (B, K)
        return logits
