"""The losses as their papers have them: NumPy, one image at a time, one pixel at a time."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float64]
"""(K, *size)"""
Image = tuple[Logits, NDArray[np.int64]]
"""Logits, and targets (*size) with 255 where ignored."""

IGNORED = 255


def pixels_of(image: Image) -> list[tuple[NDArray[np.float64], int]]:
    """Class probabilities (K,) and true class of each pixel that counts."""
    logits, targets = image
    found = []
    for row, target in zip(logits.reshape(len(logits), -1).T, targets.ravel(), strict=True):
        if target != IGNORED:
            powers = np.exp(row - row.max())
            found.append((powers / powers.sum(), int(target)))
    return found


def ce(images: Sequence[Image], weights: Sequence[float] | None = None, smoothing: float = 0.0) -> tuple[float, float]:
    total = count = 0.0
    for image in images:
        for p, t in pixels_of(image):
            w = np.ones(len(p)) if weights is None else np.array(weights)
            total -= (1 - smoothing) * w[t] * np.log(p[t]) + smoothing / len(p) * (w * np.log(p)).sum()
            count += w[t]
    return total, count


def focal(images: Sequence[Image], weights: Sequence[float] | None = None, gamma: float = 2.0) -> tuple[float, float]:
    total = count = 0.0
    for image in images:
        for p, t in pixels_of(image):
            w = 1.0 if weights is None else weights[t]
            total -= w * (1 - p[t]) ** gamma * np.log(p[t])
            count += w
    return total, count


def region(pixels: list[tuple[NDArray[np.float64], int]], value: Callable[[float, float, float], float]) -> float:
    """1 minus the mean, over the classes that are present, of ``value(overlap, predicted, true)``."""
    values = []
    for c in {t for _, t in pixels}:
        overlap = sum(p[c] for p, t in pixels if t == c)
        values.append(value(overlap, sum(p[c] for p, _ in pixels), sum(t == c for _, t in pixels)))
    return 1 - sum(values) / len(values)


def each(images: Sequence[Image], value: Callable[[float, float, float], float]) -> tuple[float, float]:
    found = [region(pixels, value) for image in images if (pixels := pixels_of(image))]
    return sum(found), len(found)


def together(images: Sequence[Image], value: Callable[[float, float, float], float]) -> tuple[float, float]:
    number = sum(bool(pixels_of(image)) for image in images)
    pixels = [pixel for image in images for pixel in pixels_of(image)]
    return (region(pixels, value) * number if pixels else 0.0), number


def dice_value(overlap: float, predicted: float, true: float) -> float:
    return 2 * overlap / (predicted + true)


def jaccard_value(overlap: float, predicted: float, true: float) -> float:
    return overlap / (predicted + true - overlap)


def tversky_value(alpha: float, beta: float) -> Callable[[float, float, float], float]:
    return lambda both, predicted, true: both / (both + alpha * (predicted - both) + beta * (true - both))


def lovasz(images: Sequence[Image]) -> tuple[float, float]:
    """The Lovász extension by its definition (Berman et al. 2018, equation 9), with sets of pixels."""
    total, count = 0.0, 0
    for image in images:
        pixels = pixels_of(image)
        values = []
        for c in {t for _, t in pixels}:
            errors = [1 - p[c] if t == c else p[c] for p, t in pixels]
            truth = {i for i, (_, t) in enumerate(pixels) if t == c}
            wrong: set[int] = set()
            value = before = 0.0
            for i in sorted(range(len(pixels)), key=lambda i: -errors[i]):
                wrong.add(i)
                after = len(wrong) / len(truth | wrong)  # 1 - Jaccard, were just these wrong
                value += errors[i] * (after - before)
                before = after
            values.append(value)
        if values:
            total, count = total + sum(values) / len(values), count + 1
    return total, count


def ohem(images: Sequence[Image], share: float = 0.25, smoothing: float = 0.0) -> tuple[float, float]:
    total, count = 0.0, 0
    for image in images:
        ranked = sorted(pixels_of(image), key=lambda pixel: pixel[0][pixel[1]])
        number = math.ceil(round(share * len(ranked), 6))
        for p, t in ranked[:number]:
            total -= (1 - smoothing) * np.log(p[t]) + smoothing / len(p) * np.log(p).sum()
        count += number
    return total, count


FORMULAS: dict[str, Callable[[Sequence[Image]], tuple[float, float]]] = {
    "batch_dice": lambda images: together(images, dice_value),
    "batch_jaccard": lambda images: together(images, jaccard_value),
    "ce": ce,
    "dice": lambda images: each(images, dice_value),
    "focal": focal,
    "jaccard": lambda images: each(images, jaccard_value),
    "lovasz": lovasz,
    "ohem": ohem,
    "tversky": lambda images: each(images, tversky_value(0.3, 0.7)),
}
"""Each loss by its name, with its defaults."""


def slope(formula: Callable[[Sequence[Image]], tuple[float, float]], images: Sequence[Image]) -> list[Logits]:
    """The gradient of the total for each image's logits, by central differences."""
    step = 1e-5
    found = []
    for logits, _ in images:
        gradient = np.zeros_like(logits)
        for place in np.ndindex(logits.shape):
            kept = logits[place]
            ends = []
            for shift in (step, -step):
                logits[place] = kept + shift
                ends.append(formula(images)[0])
            logits[place] = kept
            gradient[place] = (ends[0] - ends[1]) / (2 * step)
        found.append(gradient)
    return found
