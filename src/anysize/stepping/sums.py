"""What a step has done, as sums: of one step, or of many added up."""

from dataclasses import dataclass

__all__ = ["StepSums"]


@dataclass
class StepSums:
    """Sums over images and over the terms of the loss: of one step, or of many added up."""

    totals: tuple[float, ...] = ()
    """Of each term of the loss, its sum."""
    counts: tuple[float, ...] = ()
    """Of each term of the loss, what its sum is divided by."""
    weights: tuple[float, ...] = ()
    """Of each term in the whole."""
    num_images: int = 0
    num_targets: int = 0
    """Images, or pixels that are not ignored."""
    num_right: int = 0
    """Of the targets, those whose class has the highest logit."""
    num_real: int = 0
    """Real pixels."""
    num_canvas: int = 0
    """Canvas pixels."""
    wait_seconds: float = 0.0
    """Time in which the model waited for data."""
    seconds: float = 0.0

    def __post_init__(self) -> None:
        # A checkpoint's JSON has lists.
        self.totals, self.counts, self.weights = tuple(self.totals), tuple(self.counts), tuple(self.weights)

    @property
    def loss(self) -> float:
        """The weighted sum of the terms, each divided by its count once; a term that counted nothing adds nothing."""
        terms = zip(self.totals, self.counts, self.weights, strict=True)
        return sum(weight * total / count for total, count, weight in terms if count)

    @property
    def accuracy(self) -> float:
        """The share of right targets; NaN where there was none."""
        return self.num_right / self.num_targets if self.num_targets else float("nan")

    @property
    def mpx_per_s(self) -> float:
        """Real megapixels a second."""
        return self.num_real / 1e6 / self.seconds if self.seconds else 0.0

    @property
    def padding_share(self) -> float:
        """1 - real/padded."""
        return 1 - self.num_real / self.num_canvas if self.num_canvas else 0.0

    @property
    def wait_share(self) -> float:
        """The share of the time in which the model waited for data."""
        return self.wait_seconds / self.seconds if self.seconds else 0.0

    def add(self, other: "StepSums") -> None:
        """Add another's sums to these."""
        for name, value in vars(other).items():
            own = getattr(self, name)
            if name == "weights":
                self.weights = tuple(value) or tuple(own)
            elif name in ("totals", "counts"):
                own = tuple(own) or (0.0,) * len(value)
                value = tuple(value) or (0.0,) * len(own)
                setattr(self, name, tuple(a + b for a, b in zip(own, value, strict=True)))
            else:
                setattr(self, name, own + value)
