"""The truth that `verify` compares with: the unmodified model on each image alone, as a plain tensor.

In training, batch normalisation must see all images. So each image goes through the model in a thread of its own, and
where one reaches batch normalisation it stops until all have. The threads take turns: one runs at a time, in the order
of the images, so that the result is the same each time and nothing can wait for ever.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from anysize.errors import RaggedError

__all__ = ["run_alone"]

Within = Callable[[int], AbstractContextManager[Any]]

# Positions of the arguments; both are called by networks.
_BATCH_NORMS: dict[Any, tuple[str, ...]] = {
    functional.batch_norm: (
        "input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"
    ),
    torch.batch_norm: (
        "input", "weight", "bias", "running_mean", "running_var", "training", "momentum", "eps", "cudnn_enabled"
    ),
}  # fmt: skip
_COUNTS = (Tensor.add_, Tensor.__iadd__)
_AUTOCAST_DEVICES = ("cpu", "cuda")


def run_alone(model: nn.Module, images: Sequence[Tensor], *, within: Within | None = None) -> list[Any]:
    """Run ``model`` on each image alone: what an exact batch must agree with.

    In evaluation, one call an image. Where any module is in training mode, batch normalisation takes its statistics
    over the pixels of all images and updates the running ones once, as it would in one batch. Differentiable.

    Args:
        model: any module; it runs as it is, in its own mode.
        images: tensors (C, *size); each goes in as (1, C, *size).
        within: called with the image's number; what it returns is entered around that image's run, in its thread.

    Returns:
        The model's output for each image, in their order.

    Raises:
        RaggedError: the images do not reach batch normalisation equally often.
        Exception: whatever the model raises for an image; the other images are given up.
    """
    within = within or nullcontext
    if any(module.training for module in model.modules()):
        return _run_in_training(model, images, within)
    outputs = []
    for number, image in enumerate(images):
        with within(number):
            outputs.append(model(image[None]))
    return outputs


def _run_in_training(model: nn.Module, images: Sequence[Tensor], within: Within) -> list[Any]:
    counters = {id(b) for name, b in model.named_buffers() if name.endswith("num_batches_tracked")}
    enter = _thread_state()
    workers = [_Worker(model, image, number, enter, within, counters) for number, image in enumerate(images)]
    try:
        for worker in workers:
            worker.start()
        while True:
            for worker in workers:
                worker.advance()
            if all(worker.done for worker in workers):
                return [worker.output for worker in workers]
            ended = [worker.number for worker in workers if worker.done]
            if ended:
                raise RaggedError(
                    f"image {ended[0]} of {len(workers)} reaches batch normalisation less often than others; alone "
                    f"and in training, all images must reach it equally often",
                    hint="verify with sizes for which the model does the same, or with training=False",
                )
            for worker, part in zip(workers, _normalised([worker.call for worker in workers]), strict=True):
                worker.answer = part
    finally:
        for worker in workers:
            worker.give_up()


def _normalised(calls: Sequence[dict[str, Any]]) -> list[Tensor]:
    """Normalise what all images bring, by the statistics of all their pixels."""
    first = calls[0]
    with torch.set_grad_enabled(first["grad_enabled"]):
        # (B, C, *size) -> (1, C, pixels). A weight that a network standardises in this way comes once from each image,
        # and has the same statistics that many times.
        flat = [call["input"].transpose(0, 1).flatten(1)[None] for call in calls]
        options = {name: first[name] for name in ("weight", "bias", "momentum", "eps") if name in first}
        running = (first.get("running_mean"), first.get("running_var"))
        normal = functional.batch_norm(torch.cat(flat, dim=2), *running, training=True, **options)
        parts = []
        for part, call in zip(torch.split(normal, [f.shape[2] for f in flat], dim=2), calls, strict=True):
            swapped = call["input"].transpose(0, 1)
            parts.append(part.reshape(swapped.shape).transpose(0, 1).clone())  # a copy: networks work on it in place
        return parts


class _GivenUp(BaseException):
    """Unwinds the thread of an image whose partner has failed; past ``except Exception`` in a model."""


class _Worker(threading.Thread):
    """One image's way through the model; runs only between `advance` and its next stop."""

    def __init__(
        self, model: nn.Module, image: Tensor, number: int,
        enter: Callable[[], AbstractContextManager[None]], within: Within, counters: set[int],
    ) -> None:  # fmt: skip
        super().__init__(name=f"image-{number}", daemon=True)
        self.model, self.image, self.number = model, image, number
        self.enter, self.within = enter, within
        # One forward counts once: the first image counts for all.
        self.meeting = _Meeting(self, counters if number else set())
        self.go, self.stopped = threading.Semaphore(0), threading.Semaphore(0)
        self.call: dict[str, Any] = {}
        self.answer: Tensor | None = None
        self.output: Any = None
        self.error: BaseException | None = None
        self.done = self.given_up = False

    def run(self) -> None:
        """The thread: the model's forward pass."""
        self.go.acquire()
        try:
            if not self.given_up:
                with self.enter(), self.within(self.number), self.meeting:
                    self.output = self.model(self.image[None])
        except BaseException as error:
            self.error = error
        finally:
            self.done = True
            self.stopped.release()

    def advance(self) -> None:
        """From the caller's thread: run until the next batch normalisation, or the end."""
        if self.done:
            return
        self.go.release()
        self.stopped.acquire()
        if self.error is not None:
            raise self.error

    def normalise(self, call: dict[str, Any]) -> Tensor:
        """From this thread: stop until all images have come as far."""
        self.call = {**call, "grad_enabled": torch.is_grad_enabled()}
        self.stopped.release()
        self.go.acquire()
        if self.given_up or self.answer is None:
            raise _GivenUp
        part, self.answer = self.answer, None
        return part

    def give_up(self) -> None:
        """From the caller's thread: end, wherever it stands."""
        self.given_up = True
        self.go.release()
        if self.ident is not None and not (self.done and self.error is None):
            self.join(timeout=10)


class _Meeting(TorchFunctionMode):
    """Sends batch normalisation in training to the meeting; a function mode holds for its own thread only."""

    def __init__(self, worker: _Worker, counted_elsewhere: set[int]) -> None:
        super().__init__()
        self.worker, self.counted_elsewhere = worker, counted_elsewhere

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        names = _BATCH_NORMS.get(func)
        if names is not None:
            call = {**dict(zip(names, args, strict=False)), **kwargs}
            if call.get("training"):
                return self.worker.normalise(call)
        if func in _COUNTS and id(args[0]) in self.counted_elsewhere:
            return args[0]
        return func(*args, **kwargs)


def _thread_state() -> Callable[[], AbstractContextManager[None]]:
    """What a new thread does not inherit: whether gradients are recorded, and autocast."""
    grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    casts = [
        (device, torch.get_autocast_dtype(device)) for device in _AUTOCAST_DEVICES if torch.is_autocast_enabled(device)
    ]

    @contextmanager
    def enter() -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(inference))
            stack.enter_context(torch.set_grad_enabled(grad))
            for device, dtype in casts:
                stack.enter_context(torch.autocast(device, dtype=dtype))
            yield

    return enter
