"""Recipes: their options exist, and their page says what they are."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from anysize.training.config import TrainConfig
from anysize.training.recipes import RECIPES

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"


def shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(f"{number:g}" for number in value)
    return value if isinstance(value, str) else f"{value:g}"


@pytest.mark.parametrize("name", RECIPES)
def test_every_value_is_one_that_a_run_takes(name: str) -> None:
    recipe = RECIPES[name]
    assert recipe.name == name
    assert recipe.source
    assert "\n" not in recipe.summary
    config = TrainConfig(**recipe.values)
    assert {field: getattr(config, field) for field in recipe.values} == dict(recipe.values)


def test_all_recipes_set_the_same_options() -> None:
    assert set(RECIPES) == {"voc", "small-data", "finetune"}
    assert len({frozenset(recipe.values) for recipe in RECIPES.values()}) == 1
    names = {field.name for field in dataclasses.fields(TrainConfig)}
    for recipe in RECIPES.values():
        assert set(recipe.values) <= names


def test_the_page_has_their_values() -> None:
    rows = re.findall(r"^\| (\w+) \| (.+?) \| (.+?) \| (.+?) \|$", PAGE.read_text(encoding="utf-8"), flags=re.M)
    assert rows[0] == ("option", *RECIPES)
    table = {row[0]: row[1:] for row in rows[1:] if row[0] in RECIPES["voc"].values}
    expected = {
        option: tuple(shown(recipe.values[option]) for recipe in RECIPES.values()) for option in RECIPES["voc"].values
    }
    assert table == expected
    for name in RECIPES:
        assert f"\n## {name}\n" in PAGE.read_text(encoding="utf-8")
