"""Recipes as files."""

from __future__ import annotations

import tomllib
from pathlib import Path

from ablate.records import toml
from ablate.records.errors import InputError
from ablate.records.recipe import Catalogue, Recipe


def read_recipe(path: Path, catalogue: Catalogue) -> Recipe:
    """A recipe from a TOML file: one table a trick. Raises InputError."""
    try:
        with path.open("rb") as file:
            plain = tomllib.load(file)
    except FileNotFoundError as error:
        raise InputError(f"there is no recipe file {path}") from error
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"the recipe file {path} cannot be read: {error}") from error
    try:
        return Recipe.of(catalogue, plain)
    except InputError as error:
        raise InputError(f"{path}: {error.message}", hint=error.hint) from error


def recipe_toml(recipe: Recipe) -> str:
    """The recipe as TOML, one table a trick."""
    parts = []
    for name, settings in recipe.items():
        pairs = "".join(f"{toml.key(k)} = {toml.value(v)}\n" for k, v in settings.items())
        parts.append(f"[{toml.key(name)}]\n{pairs}")
    return "\n".join(parts)
