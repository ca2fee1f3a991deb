"""The network and the window of the DeepLab v3+ paper on one machine: xception65, output stride 16, 513 pixels."""

import resource
from pathlib import Path

import pytest

from anysize.training.run import train
from toy import QUIET, quick_segmenter, table_of, write_shapes


@pytest.mark.slow
def test_four_images_of_513_pixels_are_learned_by_xception65(tmp_path: Path) -> None:
    data = write_shapes(tmp_path / "voc", count=5, sides=(513, 513), val=1)
    config = quick_segmenter(
        data,
        tmp_path / "run",
        model="deeplabv3plus",
        model_kwargs=("encoder=xception65", "output_stride=16"),
        epochs=8,
        batch_size=4,
        crop_size=513,
        lr=5e-4,
        sched="constant",
        hflip=0.0,
        crop=1.0,
        color_jitter=0.0,
        patience=0,
    )
    losses = [float(row["train_loss"]) for row in table_of(train(config, console=QUIET).run)]
    assert len(losses) == 8
    assert losses[-1] < 0.5 * losses[0]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 20 * 2**20  # KiB
