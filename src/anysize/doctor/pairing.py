"""Whether images and masks belong together: moved, mirrored, or paired with the wrong neighbour.

Thresholds, and why. On real data (facades, bridges, road scenes, electron microscopy, satellite images) the scores of
eight right pairs added up are 4 to 65 standard deviations at no shift, those of mirrored or foreign masks below 3. A
claim needs 4 (or more), nothing at no shift, and half of the images to say the same by themselves: textures that repeat
have chance peaks, but not in one place. Silence means nothing seen, not proof.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from anysize.data.masks.moving import Move, Turn
from anysize.doctor.alignment import ShiftEstimate, alignment, centre_score, flip_scores, own_score
from anysize.doctor.finding import Finding

__all__ = ["check_pairing"]

CHECK = "pairing"
_CLEAR = 4.0  # standard deviations of a peak that is believed
_ABSENT = 2.5  # below it nothing fits at no shift
_MARGIN = 3.0  # how much better another place has to be
_TOLERANCE = 3  # pixels: borders are drawn by hand; shifts up to it are not told
_LEAST_IMAGES = 2
_EXPECTED = "borders between classes that run along edges of their own image"

Array = NDArray[np.generic]
_TURNS: dict[str, Turn] = {
    "mirrored": "mirror",
    "upside down": "upside down",
    "turned by 180 degrees": "half turn",
    "transposed": "transpose",
    "transposed along the other diagonal": "transverse",
    "turned left by a quarter": "left",
    "turned right by a quarter": "right",
}


def check_pairing(
    images: Sequence[Array],
    masks: Sequence[Array],
    paths: Sequence[str] = (),
    *,
    mend: Callable[[Move], str] | None = None,
) -> list[Finding]:
    """Look for masks that are moved against their images, mirrored, or belong to the next image of the list.

    Args:
        images: (H, W), (H, W, C) or (C, H, W), any scale and any sizes; some four to sixteen of them.
        masks: (H, W) class indices, each of its image's size.
        paths: names of the images, for the finding.
        mend: says how the files of all masks are moved so; None where there are no files to name.

    Returns:
        No or one finding.
    """
    estimates = [alignment(image, mask) for image, mask in zip(images, masks, strict=True)]
    chosen = [index for index, estimate in enumerate(estimates) if estimate.is_clear]
    chosen = _of_largest_reach(chosen, estimates)
    if len(chosen) < _LEAST_IMAGES:
        return []
    names = tuple(paths[index] for index in chosen) if paths else ()
    found: tuple[str, str, Move | None] | None = _moved([estimates[index] for index in chosen])
    if found is None and _mean_centre([estimates[index] for index in chosen]) < _ABSENT:
        own = [(images[index], masks[index]) for index in chosen]
        found = _mirrored(own) or _rotated_list(own)
    if found is None:
        return []
    what, fix, move = found
    if mend is not None and move is not None:
        fix += f"; {mend(move)}"
    return [Finding(CHECK, "error", what, _EXPECTED, fix, names)]


def _of_largest_reach(chosen: list[int], estimates: Sequence[ShiftEstimate]) -> list[int]:
    """Only surfaces of one shape can be added up: those that most images have."""
    shapes = [estimates[index].surface.shape for index in chosen]
    return [index for index in chosen if estimates[index].surface.shape == max(shapes, key=shapes.count)]


def _summed(estimates: Sequence[ShiftEstimate]) -> NDArray[np.float64]:
    """The mean surface in standard deviations of its own noise."""
    mean = np.mean([estimate.surface for estimate in estimates], axis=0)
    centred = mean - np.median(mean)
    noise = 1.4826 * float(np.median(np.abs(centred)))
    return np.asarray(centred / noise if noise > 1e-12 else np.zeros_like(centred))


def _mean_centre(estimates: Sequence[ShiftEstimate]) -> float:
    return float(np.mean([estimate.score_unshifted for estimate in estimates]))


def _moved(estimates: Sequence[ShiftEstimate]) -> tuple[str, str, Move | None] | None:
    surface = _summed(estimates)
    middle = surface.shape[0] // 2
    peak = np.unravel_index(int(np.argmax(surface)), surface.shape)
    down, right = int(peak[0]) - middle, int(peak[1]) - middle
    if max(abs(down), abs(right)) <= _TOLERANCE:
        return None
    num_same = sum(
        max(abs(estimate.shift[0] - down), abs(estimate.shift[1] - right)) <= _TOLERANCE for estimate in estimates
    )
    score, at_home = float(surface[peak]), centre_score(surface)
    if score < _CLEAR or score - at_home < _MARGIN or num_same < max(_LEAST_IMAGES, len(estimates) / 2):
        return None
    # Each by itself: where a mask fits its image unmoved as well as moved, textures repeat.
    down, right = (round(float(np.median([estimate.shift[axis] for estimate in estimates]))) for axis in (0, 1))
    num_right = sum(
        max(map(abs, estimate.shift)) <= _TOLERANCE and estimate.score_unshifted >= _CLEAR for estimate in estimates
    )
    but = f"; not all of them: {num_right} of these {len(estimates)} lie where they belong" if num_right else ""
    return (
        f"masks lie about {_way(down, 'down', 'up')} and {_way(right, 'right', 'left')} of where their images have "
        f"edges ({num_same} of {len(estimates)} images agree; fit {score:.1f} there, {at_home:.1f} in place)",
        f"move the masks {_way(-down, 'down', 'up')} and {_way(-right, 'right', 'left')}, or apply the same crop, "
        f"padding and resizing to image and mask{but}",
        None if num_right else (-down, -right),
    )


def _way(pixels: int, positive: str, negative: str) -> str:
    return f"{abs(pixels)} px {positive if pixels >= 0 else negative}"


def _mirrored(pairs: Sequence[tuple[Array, Array]]) -> tuple[str, str, Move] | None:
    per_image = [flip_scores(image, mask) for image, mask in pairs]
    shared = set.intersection(*(set(scores) for scores in per_image))
    means = {name: float(np.mean([scores[name] for scores in per_image])) for name in sorted(shared)}
    name = max(means, key=means.__getitem__, default="")
    own = float(np.mean([own_score(image, mask) for image, mask in pairs]))
    if not name or means[name] < _CLEAR or means[name] - own < _MARGIN:
        return None
    return (
        f"masks fit their images only when {name} (fit {means[name]:.1f}; {own:.1f} as they are)",
        f"have the masks {name}, or mirror and turn image and mask together",
        _TURNS[name],
    )


def _rotated_list(pairs: Sequence[tuple[Array, Array]]) -> tuple[str, str, None] | None:
    """Whether mask i + n fits image i, and mask i does not: lists that were sorted or filled apart."""
    count = len(pairs)
    if len({mask.shape for _, mask in pairs}) > 1:
        return None
    own = float(np.mean([own_score(image, mask) for image, mask in pairs]))
    for step in range(1, count):
        score = float(np.mean([own_score(pairs[i][0], pairs[(i + step) % count][1]) for i in range(count)]))
        if score >= _CLEAR and score - own >= _MARGIN:
            ahead = step if step <= count // 2 else step - count
            return (
                f"image i fits mask i {ahead:+d} of the list (fit {score:.1f}), not its own ({own:.1f})",
                "pair images and masks by file name, not by position in two lists",
                None,
            )
    return None
