"""A new loss is one new file; the page about losses knows all of them, and its example runs."""

import re
import sys
from pathlib import Path

import pytest
import torch

import anysize.losses
from anysize.losses import create_objective, list_losses, loss_options, registry

PAGE = Path(__file__).parents[2] / "docs" / "losses.md"
NEW = '''
"""Confidence in the wrong class."""

from dataclasses import dataclass

import torch

from anysize.losses import Loss, register_loss


@register_loss
@dataclass(frozen=True, kw_only=True)
class Doubt(Loss):
    name = "doubt"
    power: float = 1.0

    def _total(self, pairs):
        return torch.stack(
            [(1 - p.pixels.softmax(1).gather(1, p.pixel_labels.unsqueeze(1))).pow(self.power).sum() for p in pairs]
        ).sum()

    def _count(self, labels):
        return float(sum(sum(part.num_counted) for part in labels))
'''


def test_a_new_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "doubt.py").write_text(NEW)
    monkeypatch.setattr(registry, "_LOSSES", dict(registry._LOSSES))
    monkeypatch.setattr(anysize.losses, "__path__", [*anysize.losses.__path__, str(tmp_path)])
    try:
        assert "doubt" in list_losses()
        assert loss_options("doubt") == {"power": 1.0}
        objective = create_objective("ce+doubt", num_classes=3, options=("doubt.power=2",))
        logits, targets = torch.zeros(1, 3, 2, 2), torch.tensor([[[0, 1], [2, 255]]])
        sums = objective.sums(logits, targets)
        assert sums[1].count == 3
        assert float(sums[1].total) == pytest.approx(3 * (2 / 3) ** 2)
    finally:
        sys.modules.pop("anysize.losses.doubt", None)
        vars(anysize.losses).pop("doubt", None)
    monkeypatch.undo()
    assert "doubt" not in list_losses()


def test_the_page_knows_every_loss_and_option() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = {name for row in re.findall(r"^\| (`[^|]*)\|", text, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert rows == set(list_losses())
    for name in list_losses():
        for option in loss_options(name):
            assert f"`{name}.{option}`" in text


def test_the_example_of_the_page_runs() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    logits = torch.randn(2, 21, 5, 4, requires_grad=True)
    names = {
        "create_objective": create_objective,
        "model": lambda batch: batch,
        "batch": logits,
        "targets": torch.randint(0, 21, (2, 5, 4)),
    }
    exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102 - our own page
    assert logits.grad is not None
    assert logits.grad.any()
