"""What is timed, that it leaves the network alone, and that it is remembered; no test looks at a clock."""

import json

import pytest
import torch
from torch import nn

from anysize.cache_folder import cache_folder
from anysize.errors import UsageError
from anysize.ragged import RaggedBatch
from anysize.timing import measure, measure_speed


def net(width: int = 4) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Passes run, and take as long as they have pixels, 1 us each; 1 ms a launch; 5 ms where the canvas is new."""
    real = measure._Passes.seconds
    met: list[int] = []

    def timed(self: object, batch: RaggedBatch) -> float:
        pixels = batch.canvas.shape[0] * batch.canvas.shape[2] * batch.canvas.shape[3]
        if pixels < 7_000:  # the others would take a while
            real(self, batch)
        new = pixels not in met
        met.append(pixels)
        return 1e-6 * pixels + 1e-3 + 5e-3 * new

    monkeypatch.setattr(measure._Passes, "seconds", timed)
    # Whatever else runs on the machine of the tests:
    monkeypatch.setattr(measure, "_ENOUGH_SECONDS", float("inf"))
    monkeypatch.setattr(measure, "_is_busy", lambda: False)
    return met


def test_measures_and_leaves_the_network_alone(seconds: list[int]) -> None:
    model = net().eval()
    optimizer = torch.optim.AdamW(model.parameters())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    state = torch.get_rng_state()
    cost = measure_speed(model, in_channels=1, optimizer=optimizer)
    assert torch.equal(torch.get_rng_state(), state)
    assert cost.seconds_per_pixel == pytest.approx(1e-6)
    assert cost.seconds_per_launch == pytest.approx(1e-3)
    assert cost.seconds_per_new_canvas == pytest.approx(5e-3)
    assert cost.seconds_per_step > 0
    assert not model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not optimizer.state
    assert all(parameter.grad is None for parameter in model.parameters())


def test_remembers_by_circumstances(seconds: list[int]) -> None:
    first = measure_speed(net(), in_channels=1)
    passes = len(seconds)
    assert passes > 20
    assert measure_speed(net(), in_channels=1) == first
    assert len(seconds) == passes
    evaluated = measure_speed(net(), in_channels=1, training=False)
    assert len(seconds) > passes
    assert evaluated.seconds_per_step == 0.0
    passes = len(seconds)
    measure_speed(net(5), in_channels=1)
    assert len(seconds) > passes
    passes = len(seconds)
    measure_speed(net(), in_channels=1, fresh=True)
    assert len(seconds) > passes


def test_a_damaged_memory_is_measured_anew(seconds: list[int]) -> None:
    measure_speed(net(), in_channels=1)
    path = cache_folder() / "speed.json"
    ((key, figures),) = json.loads(path.read_text()).items()
    for wrong in ({"seconds": 1.0}, {**figures, "seconds_per_pixel": 0.0}, {**figures, "seconds_per_pixel": -1.0}, 3):
        path.write_text(json.dumps({key: wrong}))
        passes = len(seconds)
        measure_speed(net(), in_channels=1)
        assert len(seconds) > passes


def test_what_a_busy_machine_says_is_not_remembered(seconds: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_ENOUGH_SECONDS", 0.0)  # time for a single round
    cost = measure_speed(net(), in_channels=1)
    assert (cost.rounds, cost.is_steady) == (1, False)
    monkeypatch.setattr(measure, "_ENOUGH_SECONDS", float("inf"))
    monkeypatch.setattr(measure, "_is_busy", lambda: True)
    assert measure_speed(net(), in_channels=1).is_steady
    assert not (cache_folder() / "speed.json").exists()


def test_a_network_without_logits_is_refused() -> None:
    with pytest.raises(UsageError) as raised:
        measure_speed(nn.Sequential(nn.Conv2d(1, 2, 3)), in_channels=1)
    assert str(raised.value) == (
        "the network returned RaggedBatch; one row of logits an image is required\n"
        "hint: end the network with global pooling and flatten"
    )
