"""What was measured is remembered for just the circumstances that it was measured in."""

import json

import pytest
import torch
from torch import nn

from anysize import remembered
from anysize.data.cache import default_cache_path
from anysize.errors import ImageSizeError
from anysize.memory import (
    LargestImage,
    MemoryUse,
    check_elements,
    choose_limit,
    enable_checkpointing,
    is_checkpointed,
    limit,
)
from anysize.memory.remembered import circumstances, recall, remember

CPU = torch.device("cpu")
GIB = 2**30


def net(dilation: int = 1, width: int = 4) -> nn.Module:
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, width, 3, padding=dilation, dilation=dilation), nn.ReLU()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


class Repeats(nn.Module):
    """What it takes depends on an attribute."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times, self.conv = times, nn.Conv2d(1, 4, 3)


def test_circumstances(monkeypatch: pytest.MonkeyPatch) -> None:
    model = net()
    base = circumstances(model, CPU, optimizer=None, training=True)
    with torch.no_grad():
        model[0][0].weight.zero_()
    assert circumstances(model, CPU, optimizer=None, training=True) == base
    assert circumstances(net(), CPU, optimizer=None, training=True) == base
    others = [
        circumstances(model, CPU, optimizer=None, training=False),
        circumstances(model, CPU, optimizer=torch.optim.SGD(model.parameters()), training=True),
        circumstances(net(dilation=2), CPU, optimizer=None, training=True),
        circumstances(net(width=5), CPU, optimizer=None, training=True),
        circumstances(net().double(), CPU, optimizer=None, training=True),
    ]
    frozen = net()
    frozen[0][0].weight.requires_grad_(False)
    others.append(circumstances(frozen, CPU, optimizer=None, training=True))
    momentum = torch.optim.SGD(model.parameters(), momentum=0.9)
    others.append(circumstances(model, CPU, optimizer=momentum, training=True))
    faster = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    assert circumstances(model, CPU, optimizer=faster, training=True) == others[-1]
    others += [circumstances(Repeats(times), CPU, optimizer=None, training=True) for times in (1, 50)]
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    others.append(circumstances(net(), CPU, optimizer=None, training=True))
    torch.set_num_threads(threads)
    with monkeypatch.context() as patch:
        patch.setattr(remembered, "__version__", "0.0.0")
        others.append(circumstances(net(), CPU, optimizer=None, training=True))
    assert len({base, *others}) == 12
    assert circumstances(net().eval(), CPU, optimizer=None, training=True) == base


def test_remembers_and_starts_a_damaged_file_anew() -> None:
    path = default_cache_path().with_name("memory.json")
    first, second = MemoryUse(1, 2.5, 3.0), MemoryUse(4, 5.0, 6.0)
    assert recall("a") is None
    remember("a", first)
    remember("b", second)
    assert (recall("a"), recall("b"), recall("c")) == (first, second, None)
    for text in ("{", "[]", '{"a": 3}', '{"a": {"bytes_fixed": 1}}', '{"a": null}', "\xff", "[" * 200_000):
        path.write_bytes(text.encode("latin-1"))
        assert recall("a") is None
    for figures in (
        [-1, 2.0, 3.0],
        [1, float("nan"), 3.0],
        ["1", 2.0, 3.0],
        [0, 0, 0],
        [True, 2.0, 3.0],
        [1, 10**400, 3.0],
    ):
        names = ("bytes_fixed", "bytes_per_pixel", "elements_per_pixel")
        path.write_text(json.dumps({"a": dict(zip(names, figures, strict=True))}))
        assert recall("a") is None
    remember("b", second)
    assert recall("b") == second


def test_a_cache_that_cannot_be_written_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    path = default_cache_path().with_name("memory.json")
    path.mkdir(parents=True)
    remember("a", MemoryUse(1, 2.0, 3.0))
    assert recall("a") is None


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """A device of 10 GiB; 1000 bytes a pixel, 100 with checkpointing. Lists whether each measurement was with it."""
    calls: list[bool] = []

    def measure(model: nn.Module, **_: object) -> MemoryUse:
        calls.append(is_checkpointed(model))
        return MemoryUse(0, 100.0 if calls[-1] else 1000.0, 32.0)

    monkeypatch.setattr(limit, "measure_memory", measure)
    monkeypatch.setattr(limit, "available_bytes", lambda _: 10 * GIB)
    return calls


def test_measures_once_and_works_out_the_limit_anew(measured: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    small = LargestImage("a.png", (100, 100))
    first = choose_limit(net(), small, in_channels=1, training=True)
    assert first.max_pixels == int(0.9 * 10 * GIB / 1100)
    assert (
        str(first)
        == "max pixels  8.8 M (measured: 1000 bytes a pixel and 0.0 GiB in any case; 10.0 GiB available, 90 %)"
    )
    monkeypatch.setattr(limit, "available_bytes", lambda _: 5 * GIB)
    second = choose_limit(net(), small, in_channels=1, training=True)
    assert second.max_pixels == first.max_pixels // 2
    assert measured == [False]
    monkeypatch.setattr(limit, "available_bytes", lambda _: 500 * GIB)
    third = choose_limit(net(), small, in_channels=1, training=True)
    assert str(third) == (
        "max pixels  67.1 M (measured: 1000 bytes a pixel and 0.0 GiB in any case; "
        "500.0 GiB available, no tensor may reach 2^31 elements)"
    )
    choose_limit(net(), small, in_channels=1, training=False)
    assert measured == [False, False]
    loading = choose_limit(net(), small, in_channels=1, training=True, loading_bytes=1000)
    assert loading.use.bytes_per_pixel == 2000


def test_checkpointing_comes_on_only_when_an_image_would_not_fit(measured: list[bool]) -> None:
    model = net()
    choose_limit(model, LargestImage("a.png", (2900, 3000)), in_channels=1, training=True, may_checkpoint=True)
    assert not is_checkpointed(model)
    found = choose_limit(model, LargestImage("a.png", (4000, 5000)), in_channels=1, training=True, may_checkpoint=True)
    assert is_checkpointed(model)
    assert found.max_pixels == 67_108_863  # the elements' limit: memory would allow 88 M
    assert measured == [False, True]


def test_an_image_that_fits_in_no_way(measured: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit, "available_bytes", lambda _: GIB)
    model = net()
    largest = LargestImage("photos/big.png", (5_000, 12_000))
    with pytest.raises(ImageSizeError) as raised:
        choose_limit(model, largest, in_channels=1, training=True, may_checkpoint=True)
    assert str(raised.value) == (
        "photos/big.png needs a canvas of 5000x12000 (height x width): 60.0 Mpx, about 5.6 GiB; cpu has 1.0 GiB "
        "available, enough for 8.8 Mpx\n"
        "hint: --max-side 4591, a smaller network, or more memory, or --max-pixels 60000000 to try it all the same"
    )
    assert not is_checkpointed(model)
    enable_checkpointing(model)
    with pytest.raises(ImageSizeError):
        choose_limit(model, largest, in_channels=1, training=True, may_checkpoint=True)


def test_an_image_with_too_many_elements(measured: list[bool]) -> None:
    largest = LargestImage("wide.png", (10_000, 12_000))
    said = (
        "wide.png needs a canvas of 10000x12000 (height x width): 120.0 Mpx; above 67.1 Mpx a tensor of this network "
        "has 2^31 elements or more, which kernels cannot count\n"
        "hint: --max-side 8973, or a network with fewer channels in its first layers"
    )
    with pytest.raises(ImageSizeError) as raised:
        choose_limit(net(), largest, in_channels=1, training=True, may_checkpoint=True)
    assert str(raised.value) == said
    with pytest.raises(ImageSizeError) as raised:  # a number that was given is held to it as well
        check_elements(net(width=32), largest, 200_000_000, in_channels=1)
    assert str(raised.value) == said
    small = LargestImage("a.png", (10, 12))
    assert check_elements(net(width=32), small, 200_000_000, in_channels=1) == (2**31 - 1) // 32
    assert check_elements(net(width=32), small, 8_000_000, in_channels=1) == 8_000_000


class Stage:
    """Stands for a device on which a pass of more than ``most`` pixels does not go through."""

    most = 0

    def __init__(self, *_: object, **__: object) -> None:
        self.grouped = True

    def __call__(self, canvases: list[tuple[int, int, int]]) -> None:
        if sum(count * height * width for count, height, width in canvases) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize("share", [0.005, 0.3, 0.95, 1.0, 1.5])
def test_a_device_of_its_own_is_tried(measured: list[bool], monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """The figures alone say 100 images; what goes through decides."""
    monkeypatch.setattr(limit, "Rehearsal", Stage)
    monkeypatch.setattr(limit, "free_memory", lambda _: None)
    use = MemoryUse(0, 1000.0, 1.0)
    area = limit.fitting_pixels(use, 10 * GIB) // 100
    canvas = (1, area)
    monkeypatch.setattr(Stage, "most", int(share * 100 * area))
    situation = limit._Situation(net(), 1, True, None, True, 0.0)
    images = limit._tried(situation, use, canvas, 10 * GIB) / area
    # At the measured 1000 bytes a pixel the memory holds 110 images, whatever went through.
    assert min(share * 100, 110) * 8 / 9 - 1 < images <= max(min(share * 100, 110), 1) + 0.01
    assert (images >= 1) == (share >= 0.01)


def test_what_was_free_then_is_not_remembered(measured: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """A card that was nearly full: one image went through against all figures. Emptied, it has its real limit."""
    use = MemoryUse(GIB, 6000.0, 8.0)
    monkeypatch.setattr(limit, "measure_memory", lambda *_, **__: use)
    monkeypatch.setattr(limit, "Rehearsal", Stage)
    monkeypatch.setattr(limit, "free_memory", lambda _: None)
    monkeypatch.setattr(Stage, "most", 10**12)
    monkeypatch.setattr(limit._Situation, "device", torch.device("meta"))
    monkeypatch.setattr(limit, "circumstances", lambda *_, **__: "key")
    largest = LargestImage("a.png", (1000, 1000))
    for gib, most in ((1.05, {1}), (1.2, {1}), (80.0, {10, 11, 12})):
        monkeypatch.setattr(limit, "available_bytes", lambda _, gib=gib: int(gib * GIB))
        found = choose_limit(net(), largest, in_channels=1, training=True)
        assert found.use == recall("key") == use
        assert found.max_pixels // largest.pixels in most
