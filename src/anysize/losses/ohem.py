"""Cross-entropy of the hardest pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from anysize.losses.cross_entropy import CrossEntropy
from anysize.losses.laying import Labels, Pair
from anysize.losses.registry import Loss, register_loss
from anysize.losses.sampling import WHY_NO_CLASS_WEIGHTS, hardest_labels, num_hardest

__all__ = ["Ohem"]


@register_loss
@dataclass(frozen=True, kw_only=True)
class Ohem(Loss):
    """Cross-entropy of the hardest share of each image's pixels (Shrivastava et al. 2016; Wu et al. 2016).

    Of n pixels that count, ceil(share n) have a part in the sum, and that is the count: known before the predictions.
    Which ones they are is chosen for each image by itself, so that its result does not depend on its batch.
    """

    name = "ohem"
    takes_label_smoothing = True
    bars_class_weights = WHY_NO_CLASS_WEIGHTS
    takes_hardest = True

    share: float = 0.25
    """Of each image's pixels that count, above 0 and at most 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("share", "above 0 and at most 1", fits=0 < self.share <= 1)

    def _total(self, pairs: Sequence[Pair]) -> Tensor:
        loss = CrossEntropy(
            num_classes=self.num_classes, ignore_label=self.ignore_label, label_smoothing=self.label_smoothing
        )
        return loss.over([Pair(pair.logits, hardest_labels(pair, self.share)) for pair in pairs]).total

    def _count(self, labels: Sequence[Labels]) -> float:
        return float(sum(num_hardest(self.share, number) for part in labels for number in part.num_counted))
