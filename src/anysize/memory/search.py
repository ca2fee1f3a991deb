"""From what a pass takes and what a device has to how much may go through at once."""

from collections.abc import Callable, Sequence

from anysize.memory.measure import MemoryUse

__all__ = ["fitting_pixels", "images_that_fit", "most_images"]

SHARE = 0.9
"""Of the available memory: the rest is for what comes and goes, and for what was not measured."""

# Blocks of many sizes leave gaps between them that none of the next fits into. Rehearsals have few sizes; this is what
# long training on canvases of many sizes took beyond them.
_GAPS = 1.1


def fitting_pixels(use: MemoryUse, num_bytes: int) -> int:
    """Return how many canvas pixels one pass may hold with ``num_bytes`` available; 0 if none at all.

    They stay below 90 % of it, and no tensor reaches 2^31 elements.
    """
    left = SHARE * num_bytes - use.bytes_fixed
    if left <= 0:
        return 0
    return min(int(left / max(use.bytes_per_pixel * _GAPS, 1.0)), use.largest_canvas_pixels)


def images_that_fit(use: MemoryUse, canvases: Sequence[tuple[int, int]], num_bytes: int) -> list[int]:
    """Return for each canvas (height, width) how many images on it one pass may hold; 0 where not even one fits."""
    pixels = fitting_pixels(use, num_bytes)
    return [pixels // (height * width) for height, width in canvases]


def most_images(fits: Callable[[int], bool], guess: int, most: int) -> int:
    """Return the largest number of images found to fit: the guess is tried first, then doubled or halved and bisected.

    Args:
        fits: tries so many images, on the worst canvas.
        guess: about how many, at least 1.
        most: more are not wanted, at least 1.

    Returns:
        Within an eighth of the largest that fits; 0 if one image does not.
    """
    guess = min(max(guess, 1), most)
    good, bad = (guess, most + 1) if fits(guess) else (0, guess)
    while bad - good > max(good // 8, 1):
        # Upwards by doubling as long as nothing has failed; failures cost most, so the steps down are halves too.
        middle = min(2 * good, most) if bad > most else (good + bad) // 2
        if fits(middle):
            good = middle
        else:
            bad = middle
        if good == most:
            break
    return good
