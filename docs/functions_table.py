"""Write docs/functions.md: every torch function that has a rule, by family, from the registry itself.

python docs/functions_table.py
"""

import inspect
import sys
from collections import defaultdict
from pathlib import Path

from anysize.ragged import registered_functions
from anysize.ragged.registry import function_name

TABLE = Path(__file__).with_name("functions.md")


def table() -> str:
    """The page, as Markdown."""
    families: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for function, rule in registered_functions().items():
        module = inspect.getmodule(rule.work)
        if module is None or not module.__name__.startswith("anysize."):
            continue  # a rule of somebody's own
        name = function_name(function)
        if name.startswith("torch.") and not name.startswith("torch.Tensor.__"):
            doc = (inspect.getdoc(rule.work) or "").partition("\n")[0]
            refuses = doc.startswith("Refuse")
            families["refused by name" if refuses else module.__name__.rpartition(".")[2]][doc].add(name)
    refused = families.pop("refused by name", {})
    total = len({name for rules in families.values() for names in rules.values() for name in names})
    lines = [
        "# Functions with a rule",
        "",
        "Generated from the registry by `make docs`; do not edit. Operators (`+`, `*`, `@`, `[]`, comparisons) and the",
        "in-place forms go by the rules of their functions. Which arguments are refused stands in each rule's errors.",
        "",
        f"{total} functions and methods in {len(families)} families.",
    ]
    for family in (*sorted(families), "refused by name"):
        lines += ["", f"## {family.replace('_', ' ')}", "", "| what | functions |", "|---|---|"]
        for doc, names in sorted(families.get(family, refused).items()):
            lines.append(f"| {doc} | {_shortened(names)} |".replace("|_|", "or"))
    return "\n".join(lines) + "\n"


def _shortened(names: set[str]) -> str:
    """Each name once, with the places that spell it: ``relu (torch, F, Tensor)``."""
    places: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        place, _, bare = name.rpartition(".")
        short = {"torch": "torch", "torch.nn.functional": "F", "torch.Tensor": "Tensor"}.get(place, place)
        places[bare].append(short)
    return ", ".join(f"`{bare}` ({', '.join(where)})" for bare, where in sorted(places.items()))


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
    sys.stdout.write(f"{TABLE}\n")
