"""``anysize doctor learn``."""

from anysize.cli.output import write_json, write_lines
from anysize.training.learn_config import LearnConfig

SUMMARY = "why a network does not learn: overfit a handful of images, and look for the cause"
DESCRIPTION = """
Take the data, network, loss and optimiser of a training run (all options of 'anysize train'), try to learn a handful of
images by heart, and where that fails say why: dead or frozen layers, ignored pixels that count, a softmax too many, a
learning rate far off, inputs in another range than the weights want, masks that do not belong to their images, and
more. Exit code 0: it learns, or --seconds were too few to tell, which is said; 1: it does not, or an error was found.
"""
EXAMPLES = """
  anysize doctor learn VOC2012/ --model deeplabv3plus --model-kwargs encoder=mobilenet_v2
  anysize doctor learn camvid/ --model unet --ignore-label 11 --lr 0.1
  anysize doctor learn photos/ --model resnet18 --json
"""
OPTIONS = LearnConfig


def run(options: LearnConfig, *, as_json: bool) -> int:
    """Write the verdict and the findings."""
    from anysize.training.preflight import diagnose

    report = diagnose(options)
    if as_json:
        write_json(report.to_json())
    else:
        write_lines(*report.lines())
    return 1 if report.failed else 0
