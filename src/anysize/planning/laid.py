"""Which images of a plan lie on which canvas, and which batches are the worst."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anysize.batching import CanvasSet, MicroBatch, Plan
from anysize.memory import MemoryUse

__all__ = ["BadBatch", "CanvasRow", "Laid", "canvas_rows", "lay_out", "worst_batches"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Laid:
    """The different canvases of a plan, by area, ascending."""

    canvases: Ints
    """(U, 2) height and width."""
    of: Ints
    """(N,) the number of each image's canvas."""
    is_own: NDArray[np.bool_]
    """(U,) whether it is none of the static ones, but of an image's own exact size."""
    num_images: Ints
    """(U,) on each."""
    num_forwards: Ints
    """(U,) with each."""
    real_pixels: Ints
    """(U,) true areas of the images on each."""

    @property
    def canvas_pixels(self) -> Ints:
        """(U,) area times images."""
        return np.asarray(self.canvases.prod(axis=1) * self.num_images)


def lay_out(plan: Plan, sizes: Ints, chosen: CanvasSet | None) -> Laid:
    """Count images and pixels by canvas; without ``chosen`` no canvas is an image's own."""
    canvases, place = np.unique(plan.canvases(), axis=0, return_inverse=True)
    order = np.lexsort((canvases[:, 0], canvases.prod(axis=1)))
    number_of = np.argsort(order)[place.reshape(-1)]
    canvases = canvases[order]
    of = np.empty(plan.num_images, dtype=np.int64)
    of[plan.indices()] = np.repeat(number_of, plan.lengths())
    areas = sizes.prod(axis=1).astype(np.float64)
    static = set() if chosen is None else set(chosen.canvases)
    own = [chosen is not None and (height, width) not in static for height, width in canvases.tolist()]
    return Laid(
        canvases=canvases,
        of=of,
        is_own=np.array(own, dtype=np.bool_),
        num_images=np.bincount(of, minlength=len(canvases)),
        num_forwards=np.bincount(number_of, minlength=len(canvases)),
        real_pixels=np.bincount(of, weights=areas, minlength=len(canvases)).astype(np.int64),
    )


@dataclass(frozen=True, kw_only=True)
class CanvasRow:
    """One canvas of the plan, or all canvases of single images' own size together."""

    canvas: tuple[int, int] | None
    """(height, width); None for the canvases of images' own exact size."""
    num_images: int
    image_share: float
    """Of all images."""
    padding_share: float
    pixel_share: float
    """Of all canvas pixels."""
    num_forwards: int
    batch_images: int
    """Images of a full micro-batch on it: as many as a batch has and the limit of pixels allows."""
    max_images: int
    """Images that the limit of pixels allows."""
    batch_bytes: int | None
    """Memory of a training step on such a micro-batch; None where nothing was measured."""


def canvas_rows(
    laid: Laid, batch_size: int, max_pixels: int, use: MemoryUse | None, *, most: int = 64
) -> list[CanvasRow]:
    """A row for each of the canvases with the most pixels, most first; images' own ones together, last."""
    pixels = laid.canvas_pixels
    total_images, total_pixels = int(laid.num_images.sum()), int(pixels.sum())

    def row(chosen: Ints, canvas: tuple[int, int] | None, area: int) -> CanvasRow:
        images, canvas_pixels = int(laid.num_images[chosen].sum()), int(pixels[chosen].sum())
        fit = max(max_pixels // area, 1)
        full = 1 if canvas is None else min(batch_size, fit)
        return CanvasRow(
            canvas=canvas,
            num_images=images,
            image_share=images / total_images,
            padding_share=1 - int(laid.real_pixels[chosen].sum()) / canvas_pixels,
            pixel_share=canvas_pixels / total_pixels,
            num_forwards=int(laid.num_forwards[chosen].sum()),
            batch_images=full,
            max_images=fit,
            batch_bytes=None if use is None else use.bytes_for(full * area),
        )

    order = np.argsort(-pixels, kind="stable")
    areas = laid.canvases.prod(axis=1)
    rows = []
    for number in order[~laid.is_own[order]][:most].tolist():
        height, width = laid.canvases[number].tolist()
        rows.append(row(np.array([number]), (height, width), height * width))
    own = np.flatnonzero(laid.is_own)
    return [*rows, row(own, None, int(areas[own].max()))] if len(own) else rows


@dataclass(frozen=True, kw_only=True)
class BadBatch:
    """A micro-batch that stands out."""

    canvas: tuple[int, int]
    """(height, width)."""
    num_images: int
    padding_share: float
    megapixels: float
    """Of the canvas times images."""
    paths: tuple[str, ...]
    """By true area, the largest first."""


def worst_batches(plan: Plan, sizes: Ints, paths: Sequence[str], count: int) -> tuple[list[BadBatch], BadBatch]:
    """The ``count`` micro-batches with the largest padding shares, and the one with the most canvas pixels."""
    lengths, canvases = plan.lengths(), plan.canvases()
    areas = sizes.prod(axis=1)
    real = np.add.reduceat(areas[plan.indices()], np.cumsum(lengths) - lengths)
    pixels = canvases.prod(axis=1) * lengths
    shares = 1 - real / pixels
    # Equal shares: the one that wastes more pixels first.
    order = np.lexsort((real - pixels, -shares))[:count]

    def build(number: int) -> BadBatch:
        batch: MicroBatch = plan.micro_batch(number)
        return BadBatch(
            canvas=batch.canvas,
            num_images=len(batch.indices),
            padding_share=float(shares[number]),
            megapixels=float(pixels[number]) / 1e6,
            paths=tuple(paths[index] for index in batch.indices),
        )

    return [build(int(number)) for number in order if shares[number] > 0], build(int(np.argmax(pixels)))
