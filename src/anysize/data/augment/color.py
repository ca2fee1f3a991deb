"""Variation of color, pixel by pixel."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anysize.data.draws import uniform

__all__ = ["jitter_color"]

_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = range(100, 104)
# Luma and the two axes of color of NTSC's YIQ, the first as Pillow's "L" has it.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def jitter_color(
    image: NDArray[np.uint8], strength: float, *, seed: int, epoch: int, index: int, hue: float = 0.0
) -> NDArray[np.uint8]:
    """Vary brightness, contrast (about the image's mean luma) and, in color images, saturation and hue.

    Args:
        image: uint8 (H, W, C), C 1 or 3.
        strength: s of 0 to 1: each factor is drawn uniformly from 1-s to 1+s. 0 varies none of the three.
        seed, epoch, index: the draw depends on these only.
        hue: largest turn of the hue in degrees, either way.

    Returns:
        uint8 (H, W, C); the image itself where nothing is varied.
    """
    channels = image.shape[2]
    hue = hue if channels == 3 else 0.0
    if strength == 0 and hue == 0:
        return image
    picture = Image.fromarray(image if channels == 3 else image[..., 0])
    if strength:
        picture = _jittered(picture, strength, seed, epoch, index)
    if hue:
        picture = _hue_turned(picture, hue * (2 * float(uniform(seed, epoch, index, _HUE)) - 1))
    return np.array(picture).reshape(image.shape)


def _jittered(picture: Image.Image, strength: float, seed: int, epoch: int, index: int) -> Image.Image:
    brightness, contrast, saturation = (
        1 + strength * (2 * float(uniform(seed, epoch, index, number)) - 1)
        for number in (_BRIGHTNESS, _CONTRAST, _SATURATION)
    )
    channels = len(picture.getbands())
    luma = picture.convert("L")
    mean = float(np.asarray(luma.histogram(), np.float64) @ np.arange(256)) / (luma.width * luma.height)
    # Brightness, then contrast about the brightened mean: one affine map, hence one table for all 256 values.
    levels = (np.arange(256) - mean) * brightness * contrast + mean * brightness
    picture = picture.point(np.rint(levels).clip(0, 255).astype(int).tolist() * channels)
    if channels == 3:
        picture = Image.blend(picture.convert("L").convert("RGB"), picture, saturation)
    return picture


def _hue_turned(picture: Image.Image, degrees: float) -> Image.Image:
    """Turn the plane of the two color axes, luma kept: linear, so a fraction of the time that HSV takes."""
    sine, cosine = np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees))
    turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    matrix = np.linalg.solve(_YIQ, turn @ _YIQ)
    rows = np.concatenate([matrix, np.zeros((3, 1))], axis=1)
    return picture.convert("RGB", tuple(rows.ravel().tolist()))
