"""The documentation's examples run, its generated pages are fresh, and its links lead somewhere."""

import importlib.util
import re
from pathlib import Path

import pytest

import anysize.ragged.registry as ragged_registry

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_rules_of_the_documentation_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ragged_registry, "_RULES", dict(ragged_registry._RULES))
    text = (ROOT / "docs" / "exactness.md").read_text(encoding="utf-8")
    section = text.partition("## A rule of your own")[2]
    blocks = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    assert len(blocks) == 2
    exec(compile("\n".join(blocks), "docs/exactness.md", "exec"), {})  # noqa: S102 - our own page


def test_the_table_of_functions_is_fresh() -> None:
    path = ROOT / "docs" / "functions_table.py"
    spec = importlib.util.spec_from_file_location("functions_table", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.TABLE.read_text(encoding="utf-8") == module.table(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing
