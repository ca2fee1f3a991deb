"""Xception: an Inception network of nothing but depthwise separable convolutions."""

from torch import Tensor, nn
from torch.nn import functional

from anysize.models.layers import SameMaxPool2d, SeparableConv2d, StridedConv2d
from anysize.models.network import Network
from anysize.models.registry import register_model

__all__ = ["Xception"]

_MIDDLE = range(5, 13)


@register_model
class Xception(Network):
    """Entry, middle and exit flow of Chollet 2017 (arXiv 1610.02357, figure 5).

    22,910,480 parameters with three channels and 1,000 classes, counted as Keras does: 54,528 of them are running
    statistics of batch normalisation. Images of 7x7 pixels and more; stride 32. Layers have the names of
    ``keras.applications.Xception``; its four shortcuts have none there and are ``block2_residual_conv`` and so on here.

    Running variances move by PyTorch's unbiased estimate; Keras takes the biased one.

    Args:
        num_classes: K, the number of logits.
        in_channels: C, 1 for grey, 3 for colour.
        keras_padding: pad the four strided max-pools as Keras does, by the size of each image: the published weights
            are Keras's, and give its values at odd and even sizes alike. False pads symmetrically: the same at odd
            sizes, faster, and to be traced by ``torch.compile`` for ragged batches; for networks trained here.
        dropout: share of the 2,048 features that is dropped in training; 0.5 in the paper (section 4.4), none in Keras.
        norm_eps: added to the variance in batch normalisation; 1e-3 in Keras, 1e-5 in timm's ``legacy_xception``.
    """

    task = "classify"
    stem_name = "block1_conv1"
    head_names = ("predictions",)

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        keras_padding: bool = True,
        dropout: float = 0.0,
        norm_eps: float = 1e-3,
    ) -> None:
        super().__init__()
        self.keras_padding = keras_padding
        self.norm_eps = norm_eps
        self.block1_conv1 = nn.Conv2d(in_channels, 32, 3, stride=2, bias=False)
        self.block1_conv1_bn = self._norm(32)
        self.block1_conv2 = nn.Conv2d(32, 64, 3, bias=False)
        self.block1_conv2_bn = self._norm(64)
        for block, channels in ((2, (64, 128, 128)), (3, (128, 256, 256)), (4, (256, 728, 728))):
            self._add_strided(block, channels)
        for block in _MIDDLE:
            self._add_separable(block, (728, 728, 728, 728))
        self._add_strided(13, (728, 728, 1024))
        self._add_separable(14, (1024, 1536, 2048))
        self.dropout = nn.Dropout(dropout)
        self.predictions = nn.Linear(2048, num_classes)

    def _norm(self, channels: int) -> nn.BatchNorm2d:
        # Keras's momentum of 0.99 is what is kept, PyTorch's what is taken in.
        return nn.BatchNorm2d(channels, eps=self.norm_eps, momentum=0.01)

    def _add_separable(self, block: int, channels: tuple[int, ...]) -> None:
        for number in range(1, len(channels)):
            name = f"block{block}_sepconv{number}"
            self.add_module(name, SeparableConv2d(channels[number - 1], channels[number]))
            self.add_module(f"{name}_bn", self._norm(channels[number]))

    def _add_strided(self, block: int, channels: tuple[int, ...]) -> None:
        self._add_separable(block, channels)
        pool = SameMaxPool2d(3, 2) if self.keras_padding else nn.MaxPool2d(3, 2, padding=1)
        self.add_module(f"block{block}_pool", pool)
        # One pixel wide: "same" padding has nothing to add.
        self.add_module(
            f"block{block}_residual_conv", StridedConv2d(channels[0], channels[-1], 1, stride=2, bias=False)
        )
        self.add_module(f"block{block}_residual_bn", self._norm(channels[-1]))

    def _convolve(self, maps: Tensor, name: str) -> Tensor:
        """Convolution ``name`` and its batch normalisation: (B, C, H, W) -> (B, C', H', W')."""
        result: Tensor = self.get_submodule(f"{name}_bn")(self.get_submodule(name)(maps))
        return result

    def _strided(self, maps: Tensor, block: int) -> Tensor:
        """Entry and exit flow: (B, C, H, W) -> (B, C', ceil(H / 2), ceil(W / 2))."""
        result = maps if block == 2 else functional.relu(maps)  # block 1 ends with a ReLU
        result = self._convolve(result, f"block{block}_sepconv1")
        result = self._convolve(functional.relu(result, inplace=True), f"block{block}_sepconv2")  # (B, C', H, W)
        pooled: Tensor = self.get_submodule(f"block{block}_pool")(result)  # (B, C', ceil(H / 2), ceil(W / 2))
        shortcut = self.get_submodule(f"block{block}_residual_conv")(maps)
        shortcut = self.get_submodule(f"block{block}_residual_bn")(shortcut)
        pooled += shortcut  # in place: the pool does not need its output again
        return pooled

    def _middle(self, maps: Tensor, block: int) -> Tensor:
        """Middle flow: (B, 728, H, W) -> the same."""
        result = self._convolve(functional.relu(maps), f"block{block}_sepconv1")  # not in place: maps are added below
        for number in (2, 3):
            result = self._convolve(functional.relu(result, inplace=True), f"block{block}_sepconv{number}")
        result += maps  # in place: batch normalisation does not need its output again
        return result

    def forward(self, images: Tensor) -> Tensor:
        """Classify images: (B, C, H, W) -> logits (B, K)."""
        maps = self._convolve(images, "block1_conv1")  # (B, 32, H', W'), H' = (H - 1) // 2
        maps = functional.relu(maps, inplace=True)
        maps = functional.relu(self._convolve(maps, "block1_conv2"), inplace=True)  # (B, 64, H' - 2, W' - 2)
        for block in (2, 3, 4):
            maps = self._strided(maps, block)  # (B, 728, ceil((H' - 2) / 8), ..) behind the last
        for block in _MIDDLE:
            maps = self._middle(maps, block)
        maps = self._strided(maps, 13)  # (B, 1024, ceil((H' - 2) / 16), ..)
        maps = functional.relu(self._convolve(maps, "block14_sepconv1"), inplace=True)  # (B, 1536, ..)
        maps = functional.relu(self._convolve(maps, "block14_sepconv2"), inplace=True)  # (B, 2048, ..)
        pooled = functional.adaptive_avg_pool2d(maps, 1).flatten(1)  # (B, 2048)
        logits: Tensor = self.predictions(self.dropout(pooled))  # (B, K)
        return logits
