"""The main job on data that is there at once: handwritten digits at many sizes, through the command line.

Writes scikit-learn's 1,797 real digits as PNG files, each rescaled by its own random factor and aspect (16 to 72 pixels
a side), then plans, trains, evaluates and predicts. `make demo` runs it.
"""

import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

HOME = Path("runs/demo")
COMMANDS: list[str] = []


def write_digits(root: Path) -> None:
    """Write each 8x8 digit to ``root/CLASS/NUMBER.png``, at a height and width of its own."""
    digits = load_digits()
    random = np.random.default_rng(0)
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        height, width = (int(side) for side in random.integers(16, 73, size=2))
        image = Image.fromarray((pixels * (255 / 16)).astype(np.uint8))
        path = root / str(label) / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.resize((width, height), Image.Resampling.BICUBIC).save(path)


def anysize(*arguments: str) -> None:
    """Run the command line as a user would."""
    COMMANDS.append(shlex.join(["anysize", *arguments]))
    print(f"\n$ {COMMANDS[-1]}", flush=True)
    try:
        subprocess.run([sys.executable, "-m", "anysize", *arguments], check=True)
    except (KeyboardInterrupt, subprocess.CalledProcessError) as reason:  # the command has said why
        sys.exit(getattr(reason, "returncode", 130))


if __name__ == "__main__":
    started = time.monotonic()
    shutil.rmtree(HOME, ignore_errors=True)
    data, run = HOME / "digits", HOME / "run"
    write_digits(data)
    anysize("plan", str(data), "--output", str(HOME / "plan.png"))
    anysize("train", str(data), "--output", str(run), "--epochs", "8", "--hflip", "0")  # a mirrored digit is no digit
    anysize("eval", str(run))
    accuracy = json.loads((run / "weights" / "best.json").read_text())["results"]["val_accuracy"]
    anysize("predict", str(run), *(str(next((data / str(k)).iterdir())) for k in range(10)))
    print(f"\nvalidation accuracy {accuracy:.2%} after {time.monotonic() - started:.0f} s; made in {HOME}:")
    print("  digits/  the images     plan.png  how they are batched     run/  weights, metrics, previews, plots, eval")
    if accuracy < 0.97:
        sys.exit(f"error: the validation accuracy is {accuracy:.2%}; at least 97 % was expected")
    print("the commands that were run:", *COMMANDS, sep="\n  ")
