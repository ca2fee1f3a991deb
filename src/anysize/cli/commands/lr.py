"""``anysize lr``."""

from anysize.cli.output import write_json, write_lines
from anysize.training.lr_config import LrConfig

SUMMARY = "which learning rate suits a run: a short sweep with a plot and a suggestion"
DESCRIPTION = """
Try learning rates that rise from --low to --high, one update each on equally many pixels, with the data, network, loss
and optimiser of a training run (all options of 'anysize train'). Suggests a rate and draws the sweep; trains nothing.
"""
EXAMPLES = """
  anysize lr photos/
  anysize lr VOC2012/ --model deeplabv3plus --model-kwargs encoder=mobilenet_v2 --loss ce+dice
  anysize lr photos/ --opt sgd --probes 100 --output sweep/
"""
OPTIONS = LrConfig


def run(options: LrConfig, *, as_json: bool) -> int:
    """Write the suggestion; 1 where no rate made the loss fall."""
    from anysize.training.lr_finder import find_lr

    found = find_lr(options)
    result = found.result
    if as_json:
        write_json({**vars(result), "figure": str(found.figure), "table": str(found.table)})
        return 0 if result.suggestion is not None else 1
    if result.suggestion is None or result.usable is None:
        write_lines(
            f"no rate from {result.rates[0]:.2g} to {result.rates[-1]:.2g} made the loss fall",
            "why it does not learn: anysize doctor learn, with the same options",
        )
    else:
        low, high = result.usable
        write_lines(
            f"--lr {result.suggestion:.2g}",
            f"the loss falls from {low:.2g} to {high:.2g}"
            + (f", and diverges at {result.rates[-1]:.2g}" if result.diverged else ""),
        )
    write_lines(f"figure: {found.figure}", f"table: {found.table}")
    return 0 if result.suggestion is not None else 1
