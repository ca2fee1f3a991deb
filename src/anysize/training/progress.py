"""How far a run is: everything that a checkpoint must hold beside the tensors."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from anysize.training.schedules import Plateau
from anysize.stepping.step import StepSums

__all__ = ["EpochRow", "RunProgress"]

EpochRow = dict[str, float]


@dataclass
class RunProgress:
    """Where a run stands."""

    plateau: Plateau
    data_digest: str = ""
    """Of the images, their classes and their split."""
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
    rows: list[EpochRow] = field(default_factory=list)
    """One for each finished epoch."""
    best_epoch: int | None = None
    """The epoch whose weights were saved as the best, as its row counts it (from 1)."""

    @property
    def best_row(self) -> EpochRow | None:
        """The row of the best epoch."""
        return None if self.best_epoch is None else self.rows[self.best_epoch - 1]

    def take(self, row: EpochRow) -> bool:
        """Add the row of a finished epoch; returns whether it is the best: accuracy first, then the lower loss."""
        best = self.best_row
        self.rows.append(row)
        better = best is None or (row["val_accuracy"], -row["val_loss"]) > (best["val_accuracy"], -best["val_loss"])
        if better:
            self.best_epoch = len(self.rows)
        self.epoch, self.step, self.sums = self.epoch + 1, 0, StepSums()
        return better

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
