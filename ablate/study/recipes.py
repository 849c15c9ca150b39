"""Recipes as files."""

from __future__ import annotations

import tomllib
from pathlib import Path

from ablate.records.errors import InputError
from ablate.records.recipe import Catalogue, Recipe


def read_recipe(path: Path, catalogue: Catalogue) -> Recipe:
    """A recipe from a TOML file with one table per trick. Raises InputError."""
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
