"""Memory that runs out in the middle of a run: the same mathematics in smaller passes, or an error with the fix."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from anysize.errors import ImageSizeError, TrainingError
from anysize.inference import EvalConfig
from anysize.inference.evaluate import evaluate
from anysize.inference.parts import Parts
from anysize.loading import Normalisation, RawBatch
from anysize.losses import create_objective
from anysize.memory import enable_checkpointing, is_checkpointed, is_out_of_memory
from anysize.memory.peaks import traced_rise
from anysize.ragged import RaggedBatch, RaggedGroup
from anysize.stepping.criterion import Criterion
from anysize.stepping.passes import Passes
from anysize.stepping.step import StepSums, train_step
from anysize.training import TrainConfig
from anysize.training import run as run_module
from anysize.training import setup as setting_up
from anysize.training.fitting import largest_image
from anysize.training.run import train
from heard import Heard
from toy import QUIET, quick, table_of

CPU = torch.device("cpu")
TOO_MUCH = 1 << 50  # bytes: no machine gives so many, and the request fails at once


def take_too_much() -> None:
    torch.empty(TOO_MUCH, dtype=torch.uint8)


class FailsBackwards(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, canvas: Tensor) -> Tensor:
        return canvas.clone()

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        take_too_much()
        return gradient


class Hungry(nn.Module):
    """A network on a machine whose memory holds passes of up to ``most`` canvas pixels; the failure is torch's own."""

    def __init__(self, network: nn.Module, most: int, where: str = "forward") -> None:
        super().__init__()
        self.network, self.most, self.where = network, most, where
        self.passes: list[int] = []

    def forward(self, images: Any) -> Any:
        if isinstance(images, Tensor):
            return self.network(images)
        parts = images.parts if isinstance(images, RaggedGroup) else (images,)
        pixels = sum(part.canvas[:, 0].numel() for part in parts)
        logits = self.network(images)  # first: running statistics and random numbers have moved when it fails
        if pixels > self.most and not is_checkpointed(self):
            if self.where == "forward":
                take_too_much()
            logits = FailsBackwards.apply(logits)
        else:
            self.passes.append(pixels)
        return logits


def raw_batch(sizes: list[tuple[int, int]], first: int = 0) -> RawBatch:
    rng = np.random.default_rng(first)
    canvas = tuple(np.max(sizes, axis=0).tolist())
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    numbers = range(first, first + len(sizes))
    return RawBatch.from_arrays(images, canvas, [number % 3 for number in numbers], list(numbers))


def batches() -> list[RawBatch]:
    return [
        raw_batch([(30, 20), (28, 20), (20, 25), (20, 20)]),  # on 30x25: 3000 pixels
        raw_batch([(12, 12), (11, 12), (10, 9)], 4),  # 432
        raw_batch([(16, 16)], 7),  # 256
    ]


def network(kind: str) -> nn.Module:
    torch.manual_seed(3)
    if kind == "batch norm":
        return nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True)),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
        )  # fmt: skip
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Dropout(0.4 if kind == "dropout" else 0.0),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip


def criterion(label_smoothing: float = 0.0, num_classes: int = 3) -> Criterion:
    return Criterion(
        create_objective("ce", num_classes=num_classes, ignore_label=None, label_smoothing=label_smoothing)
    )


def one_step(model: nn.Module, passes: Passes, steps: int = 1, order: int = 1) -> StepSums:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    torch.manual_seed(11)
    for _ in range(steps):
        sums = train_step(
            model,
            optimizer,
            iter(batches()[::order]),
            Normalisation((127.0,) * 3, (60.0,) * 3),
            criterion(label_smoothing=0.1),
            device=CPU,
            channels_last=True,
            passes=passes,
            name_of=lambda index: f"{index}.png",
        )
    return sums


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {name.removeprefix("network."): tensor for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("where", ["forward", "backward"])
def test_the_update_is_that_of_the_whole_step(where: str, order: int) -> None:
    """Also when the passes that fit come first: what they added to the gradient is kept."""
    whole, hungry = network("plain"), Hungry(network("plain"), most=800, where=where)
    lines: list[str] = []
    passes = Passes(4_000, report=lines.append)
    expected, found = one_step(whole, Passes(10_000)), one_step(hungry, passes, order=order)
    for name, tensor in state_of(whole).items():
        torch.testing.assert_close(state_of(hungry)[name], tensor, rtol=0, atol=1e-6)
    assert (found.num_images, found.num_right, found.num_real) == (8, expected.num_right, expected.num_real)
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)
    split = [600, 560, 500, 400]
    # The step begins anew each time, so passes that came before the one that failed are done again.
    assert hungry.passes == ([*split, 432, 256] if order == 1 else [256, 432] * 3 + split)
    assert found.num_canvas == sum(split) + 432 + 256
    assert passes.max_pixels == 600
    assert lines == [
        "out of memory on cpu: 4 images on 3,000 pixels of canvas did not fit at once; they are done again with at "
        "most 1,500 pixels at once, and so is all that follows (the update stays the same). --max-pixels 1500 does so "
        "from the start",
        "out of memory on cpu: 2 images on 1,200 pixels of canvas did not fit at once; they are done again with at "
        "most 600 pixels at once, and so is all that follows (the update stays the same). --max-pixels 600 does so "
        "from the start",
    ]


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("kind", ["dropout", "batch norm"])
def test_a_pass_that_failed_leaves_no_trace(kind: str, where: str) -> None:
    """Bit for bit what a run with the lower limit does: running statistics and random numbers are those of before."""
    together = kind == "batch norm"
    hungry = Hungry(network(kind), most=1844, where=where)  # half of all: one halving suffices
    lines: list[str] = []
    passes = Passes(5_000, together=together, report=lines.append)
    one_step(hungry, passes, steps=2)
    assert passes.max_pixels == (1844 if together else 1500)
    careful = Hungry(network(kind), most=10_000)
    one_step(careful, Passes(passes.max_pixels, together=together), steps=2)
    assert hungry.passes == careful.passes
    for name, tensor in state_of(careful).items():
        assert torch.equal(state_of(hungry)[name], tensor), name
    if together:
        assert hungry.passes[0] > 1000
        assert "batch normalisation then takes its statistics over fewer images at a time" in lines[0]


def test_an_image_that_does_not_fit_by_itself() -> None:
    hungry = Hungry(network("plain"), most=500)
    with pytest.raises(ImageSizeError) as raised:
        one_step(hungry, Passes(10_000, name_of=lambda index: f"photos/{index}.png"))
    assert str(raised.value) == (
        "photos/0.png is 30x20 (height x width) and does not fit by itself into the memory of cpu\n"
        "hint: --checkpointing on, --max-side 21 (half the pixels), a smaller network, or more memory"
    )


def test_checkpointing_comes_to_help_an_image_that_does_not_fit() -> None:
    hungry, whole = Hungry(network("batch norm"), most=500), network("batch norm")
    lines: list[str] = []
    one_step(hungry, Passes(4_000, may_checkpoint=True, report=lines.append))
    one_step(whole, Passes(600))
    for name, tensor in state_of(whole).items():
        torch.testing.assert_close(state_of(hungry)[name], tensor, rtol=0, atol=1e-6)
    assert lines[-1] == (
        "0 is 30x20 (height x width) and does not fit by itself into the memory of cpu; activation checkpointing is on "
        "from here: the same gradients, for about a third more time. --checkpointing on does so from the start"
    )
    assert len(lines) == 3
    other = Hungry(nn.Sequential(network("plain")), most=500)
    enable_checkpointing(other)
    passes = Passes(10_000, may_checkpoint=True)
    passes.shrink([raw_batch([(30, 20)])], other, CPU)  # as it was
    with pytest.raises(ImageSizeError) as raised:
        passes.shrink([raw_batch([(30, 20)])], other, CPU)
    assert str(raised.value) == (
        "0 is 30x20 (height x width) and does not fit by itself into the memory of cpu, with activation "
        "checkpointing\nhint: --max-side 21 (half the pixels), a smaller network, or more memory"
    )


def test_a_shortage_while_loading_is_no_shortage_of_the_pass() -> None:
    """The rest of the step would be lost."""

    def source() -> Iterator[RawBatch]:
        yield batches()[0]
        raise MemoryError

    model = network("plain")
    with pytest.raises(MemoryError):
        train_step(
            model, torch.optim.SGD(model.parameters(), lr=0.1), source(), Normalisation((0.0,) * 3, (1.0,) * 3),
            criterion(), device=CPU, channels_last=True, passes=Passes(10_000), name_of=str,
        )  # fmt: skip


def test_splitting_loses_nothing() -> None:
    raw = raw_batch([(30, 20), (28, 20), (20, 25), (20, 20), (1, 1)])
    assert raw.split(5 * 30 * 25) == (raw,)
    for limit in (1, 400, 600, 1100, 1400, 2500, 3000):
        parts = raw.split(limit)
        assert sum((part.indices for part in parts), ()) == raw.indices
        assert sum((part.sizes for part in parts), ()) == raw.sizes
        assert all(part.num_canvas <= limit or len(part.sizes) == 1 for part in parts)
        assert len(parts) > 1
        for part in parts:
            assert part.targets is not None
            assert part.targets.tolist() == [index % 3 for index in part.indices]
            for place, (index, (height, width)) in enumerate(zip(part.indices, part.sizes, strict=True)):
                assert torch.equal(part.canvas[place, :, :height, :width], raw.canvas[index, :, :height, :width])


def raw_small() -> RawBatch:
    return raw_batch([(8, 8), (8, 8)])


def step_of(
    model: nn.Module, passes: Passes, batches: list[RawBatch], optimizer: Any = None, num_classes: int = 3
) -> StepSums:
    return train_step(
        model, optimizer or torch.optim.SGD(model.parameters(), lr=0.1), batches, Normalisation((0.0,) * 3, (1.0,) * 3),
        criterion(num_classes=num_classes), device=CPU, channels_last=True, passes=passes, name_of=str,
    )  # fmt: skip


class Fails(nn.Module):
    """Fails in the calls of these numbers, each with what it is given."""

    def __init__(self, *calls: int, said: str = "out of memory") -> None:
        super().__init__()
        self.network, self.calls, self.said, self.number = network("plain"), calls, said, 0

    def forward(self, images: Any) -> Any:
        self.number += 1
        if self.number in self.calls or not self.calls:
            raise RuntimeError(self.said)
        return self.network(images)


def test_a_small_pass_that_fails_does_not_lower_the_limit_of_the_run() -> None:
    lines: list[str] = []
    passes = Passes(50_000_000, report=lines.append)
    step_of(Fails(1), passes, [raw_small()])
    assert passes.max_pixels == 50_000_000
    assert lines == [
        "out of memory on cpu: 2 images on 128 pixels of canvas did not fit at once, far fewer than the 50,000,000 "
        "that may go together; memory that was held for reuse is given back, and the step is done again"
    ]
    model = Fails(1, 2)  # again as it was: then the step in halves, and the next step whole
    step_of(model, passes, [raw_small()])
    assert (passes.max_pixels, model.number) == (50_000_000, 4)
    assert lines[2] == (
        "out of memory on cpu: 2 images on 128 pixels of canvas did not fit at once; the step is done again with at "
        "most 64 pixels at once"
    )
    model.calls = (-1,)
    step_of(model, passes, [raw_batch([(30, 20)] * 2)])
    assert model.number == 5
    step_of(Fails(1, 2), passes, [raw_small()])  # larger passes have gone through: not the fault of this one
    assert passes.max_pixels == 50_000_000


def test_a_limit_that_is_far_too_high_gives_way() -> None:
    hungry = Hungry(network("plain"), most=800)
    lines: list[str] = []
    passes = Passes(50_000_000, report=lines.append)
    one_step(hungry, passes)
    assert passes.max_pixels == 50_000_000
    one_step(hungry, passes)
    assert passes.max_pixels == 600
    before = len(lines)
    one_step(hungry, passes)
    assert len(lines) == before


def test_no_words_lead_to_an_endless_loop() -> None:
    for most in (100, 50_000_000):
        with pytest.raises(ImageSizeError) as raised:
            step_of(Fails(said="could not create a primitive"), Passes(most, may_checkpoint=True), [raw_small()])
        assert str(raised.value).splitlines()[0] == (
            "0 is 8x8 (height x width) and does not fit by itself into the memory of cpu, with activation "
            "checkpointing (torch says: could not create a primitive)"
        )


def test_a_shortage_in_the_update_is_said() -> None:
    class Greedy(torch.optim.SGD):
        def step(self, _: Any = None) -> Any:
            take_too_much()

    model = network("plain")
    with pytest.raises(TrainingError) as raised:
        step_of(model, Passes(10_000), [raw_small()], Greedy(model.parameters(), lr=0.1))
    assert str(raised.value) == (
        "out of memory on cpu, in the update by Greedy; some weights may be updated and others not\nhint: --resume "
        "goes on from the last checkpoint; a lower --max-pixels, --opt sgd (no state, or less) or a smaller network "
        "leaves more memory"
    )


def test_a_shortage_between_the_passes_and_the_update(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, model = network("plain"), network("plain")
    step_of(whole, Passes(10_000), batches())
    norm, calls = torch.nn.utils.get_total_norm, []

    def once(gradients: Any) -> Any:
        calls.append(len(gradients))
        if len(calls) == 1:
            take_too_much()
        return norm(gradients)

    monkeypatch.setattr(torch.nn.utils, "get_total_norm", once)
    step_of(model, Passes(10_000), batches())
    assert len(calls) == 2
    for name, tensor in state_of(whole).items():
        torch.testing.assert_close(state_of(model)[name], tensor, rtol=0, atol=1e-6)


def test_nothing_is_copied_while_nothing_fails() -> None:
    """A second set of gradients would not be in what `auto` measures."""
    model = nn.Sequential(nn.AdaptiveAvgPool2d(16), nn.Flatten(), nn.Linear(768, 4000))

    def work(count: int) -> Callable[[], object]:
        return lambda: step_of(
            model, Passes(64), [raw_batch([(8, 8)], number) for number in range(count)], num_classes=4000
        )

    one, several = (traced_rise(work(count)) for count in (1, 3))
    assert several < one + 4 * 768 * 4000 * 1.5  # the gradient of one pass, while it is added to the others


def test_torch_says_so_itself() -> None:
    with pytest.raises(RuntimeError) as raised:
        take_too_much()
    assert is_out_of_memory(raised.value)


def test_answers_come_in_parts() -> None:
    def answer(raw: RawBatch) -> Tensor:
        tried.append(raw.num_canvas)
        if raw.num_canvas > 1300:
            take_too_much()
        return torch.tensor(raw.indices)

    tried: list[int] = []
    lines: list[str] = []
    parts = Parts(report=lines.append)
    found = list(parts.answers(answer, batches(), CPU))
    assert [index for _, indices in found for index in indices.tolist()] == list(range(8))
    assert tried == [3000, 1200, 1000, 432, 256]
    list(parts.answers(answer, batches(), CPU))
    assert tried[5:] == [1200, 1000, 432, 256]  # once learnt, it stays
    assert lines == [
        "out of memory on cpu: 4 images on 3,000 pixels of canvas did not fit at once; at most 1,500 pixels go "
        "together from here on, with the same answers. --max-pixels 1500 does so from the start"
    ]

    def nothing(raw: RawBatch) -> Tensor:
        raise MemoryError

    with pytest.raises(ImageSizeError) as raised:
        list(Parts(name_of=lambda index: f"{index}.png").answers(nothing, batches(), CPU))
    assert str(raised.value) == (
        "0.png is 30x20 (height x width) and does not fit by itself into the memory of cpu\n"
        "hint: leave it out, resize it, or use a device with more memory (--device)"
    )


@pytest.fixture
def hungry_runs(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def install(most: int) -> None:
        build = setting_up.model_from_flags
        monkeypatch.setattr(setting_up, "model_from_flags", lambda *args, **named: Hungry(build(*args, **named), most))
        # A network that was wrapped is no network of the registry; its weights are not asked for here.
        monkeypatch.setattr(setting_up, "smallest_side", lambda *_: 4)

    return install


def test_a_run_that_is_short_of_memory(stripes: Path, tmp_path: Path, hungry_runs: Callable[[int], None]) -> None:
    """It learns as the unhindered one does, says what happened, and goes on with the lower limit when resumed."""
    steady = {"opt": "sgd", "lr": 0.05, "sched": "constant", "warmup_epochs": 0.0}
    plain = train(quick(stripes, tmp_path / "plain", **steady), console=QUIET)
    hungry_runs(4000)
    said = Heard()
    config = quick(stripes, tmp_path / "short", **{**steady, "epochs": 1})
    train(config, console=said)
    events = [json.loads(line) for line in (tmp_path / "short" / "events.jsonl").read_text().splitlines()]
    shortages = [event["message"] for event in events if event["event"] == "out of memory"]
    assert 1 <= len(shortages) <= 8  # the first two steps learn that the limit is far too high
    assert set(shortages) <= set(said.lines)
    before = len(shortages)
    again = Heard()
    result = train(TrainConfig(resume=tmp_path / "short", epochs=3), console=again)
    assert result.ended == "finished"
    assert sum("done again" in line for line in again.lines) == 0 < before
    for ours, theirs in zip(table_of(tmp_path / "short"), table_of(plain.run), strict=True):
        for column in ("train_loss", "val_loss"):
            assert float(ours[column]) == pytest.approx(float(theirs[column]), abs=1e-4)


def test_checkpointing_that_came_on_is_on_when_resumed(
    stripes: Path, tmp_path: Path, hungry_runs: Callable[[int], None]
) -> None:
    """Before the first step, which would else run out of memory again."""
    hungry_runs(700)
    options = {"model": "resnet9", "model_kwargs": ("width=4",), "epochs": 1, "max_pixels": 4000}
    said = Heard()
    train(quick(stripes, tmp_path / "run", **options), console=said)
    assert any("activation checkpointing is on from here" in line for line in said.lines)
    again = Heard()
    train(TrainConfig(resume=tmp_path / "run", epochs=2), console=again)
    assert "activation checkpointing is on, as it was" in again.lines
    assert not any("does not fit" in line for line in again.lines)


def test_auto_is_resolved_in_training_and_evaluation(stripes: Path, tmp_path: Path) -> None:
    said = Heard()
    result = train(quick(stripes, tmp_path / "run", max_pixels="auto", epochs=1), console=said)
    (line,) = [line for line in said.lines if line.startswith("max pixels  ")]
    assert "bytes a pixel" in line
    text = (tmp_path / "run" / "config.yaml").read_text()
    (limit,) = [int(line.split()[1]) for line in text.splitlines() if line.startswith("max_pixels:")]
    assert limit > 1_000_000
    said = Heard()
    evaluate(EvalConfig(run=result.run, max_pixels="auto", workers=0, device="cpu"), console=said)
    assert sum(line.startswith("max pixels  ") for line in said.lines) == 1
    # Resumed with its own number, it measures nothing.
    said = Heard()
    train(TrainConfig(resume=result.run, epochs=2), console=said)
    assert not any(line.startswith("max pixels  ") for line in said.lines)


def test_checkpointing_on_is_the_same_run(stripes: Path, tmp_path: Path) -> None:
    network_options = {"model": "resnet9", "model_kwargs": ("width=4",), "epochs": 1}
    for choice in ("off", "on"):
        train(quick(stripes, tmp_path / choice, checkpointing=choice, **network_options), console=QUIET)
    off, on = (table_of(tmp_path / choice) for choice in ("off", "on"))
    assert float(on[0]["train_loss"]) == pytest.approx(float(off[0]["train_loss"]), abs=1e-5)
    assert float(on[0]["val_loss"]) == pytest.approx(float(off[0]["val_loss"]), abs=1e-5)


def test_the_largest_image_is_that_of_any_epoch(stripes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = quick(stripes, tmp_path / "run", scale=(0.5, 3.0), crop=1.0, epochs=4)
    setups = []
    set_up = run_module.set_up
    monkeypatch.setattr(run_module, "set_up", lambda *args: setups.append(set_up(*args)) or setups[-1])
    train(config, console=QUIET)
    (setup,) = setups
    largest = largest_image(config, setup.train, setup.val)
    drawn = [-(-setup.train.sizes(epoch) // config.multiple_of) * config.multiple_of for epoch in range(40)]
    most = max(int(sizes.prod(axis=1).max()) for sizes in drawn)
    assert most <= largest.pixels <= 1.2 * most
    assert isinstance(setup.model(RaggedBatch.from_images([torch.rand(3, *largest.canvas)])), Tensor)
