"""How far a run is: everything that a checkpoint must hold beside the tensors."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anysize.stepping.policy import trained_layers
from anysize.stepping.schedules import Plateau
from anysize.stepping.sums import StepSums

if TYPE_CHECKING:
    from anysize.training.setup import Setup

__all__ = ["EpochRow", "RunProgress"]

EpochRow = dict[str, float]


@dataclass
class RunProgress:
    """Where a run stands."""

    plateau: Plateau
    data_digest: str = ""
    """Of the images, their classes and their split."""
    metric: str = "val_accuracy"
    """The column that decides which epoch is the best; larger is better."""
    epoch: int = 0
    """The epoch that runs or comes next, from 0."""
    step: int = 0
    """Steps of that epoch that are done."""
    plan_digest: str = ""
    """Of the plan of that epoch."""
    sums: StepSums = field(default_factory=StepSums)
    """Sums over those steps."""
    pass_pixels: tuple[int, int] | None = None
    """--max-pixels, and what a pass may really hold since memory ran out; None before the first step."""
    checkpointing: bool = False
    """Whether activation checkpointing is on, from the start or since an image did not fit."""
    stage: str = ""
    """'head', 'start' or 'all': what the epoch before trained; empty before the first."""
    trained_layers: list[str] = field(default_factory=list)
    """Layers of batch normalisation whose statistics came with pretrained weights: those that can be frozen."""
    frozen: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the running statistics of each frozen layer of batch normalisation."""
    alarms: dict[str, Any] = field(default_factory=dict)
    """What `anysize.doctor.alarms` remembers of the epochs so far."""
    rows: list[EpochRow] = field(default_factory=list)
    """One for each finished epoch."""
    best_epoch: int | None = None
    """The epoch whose weights were saved as the best, as its row counts it (from 1)."""

    @classmethod
    def at_start(cls, setup: "Setup") -> "RunProgress":
        """Where a new run stands."""
        config = setup.config
        return cls(
            plateau=Plateau(patience=config.plateau_patience, factor=config.plateau_factor),
            data_digest=setup.data_digest,
            metric=setup.task.metric,
            trained_layers=list(trained_layers(setup.model)),
        )

    @property
    def best_row(self) -> EpochRow | None:
        """The row of the best epoch."""
        return None if self.best_epoch is None else self.rows[self.best_epoch - 1]

    def take(self, row: EpochRow) -> bool:
        """Add the row of a finished epoch; returns whether it is the best: by its metric, then by the lower loss.

        What is no number is worse than any.
        """
        best = self.best_row
        self.rows.append(row)
        better = best is None or self._merit(row) > self._merit(best)
        if better:
            self.best_epoch = len(self.rows)
        self.epoch, self.step, self.sums = self.epoch + 1, 0, StepSums()
        return better

    def _merit(self, row: EpochRow) -> tuple[float, float]:
        worth = (float(row[self.metric]), -float(row["val_loss"]))
        metric, loss = (-math.inf if math.isnan(value) else value for value in worth)
        return metric, loss

    @property
    def epochs_since_best(self) -> int:
        """Finished epochs after the best one."""
        return len(self.rows) - (self.best_epoch or len(self.rows))

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "RunProgress":
        """Read what `to_json` gave."""
        content = dict(content)
        content["plateau"] = Plateau(**content["plateau"])
        content["sums"] = StepSums(**content["sums"])
        pixels = content.get("pass_pixels")
        content["pass_pixels"] = None if pixels is None else (int(pixels[0]), int(pixels[1]))
        return cls(**content)
