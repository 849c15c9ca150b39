"""A ledger and another study under its name: what differs, and what to type to continue."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from ablate.records.recipe import torch_name
from ablate.records.study import LR_FIND

GROWS = ("epochs", "space", "tricks", "search")
"""Settings of a study file that may change under a ledger; `search` is the sampler and the pruner."""
OPTIONS = ("epochs", "seed")
"""Settings that the command line can override."""
OPTIMIZER = ("baseline.optimizer.name", "baseline.optimizer.momentum")
"""Settings in which the default baseline differs from one with `--optimizer`."""
UNDO = "undo the change, name another folder with --studies, or remove the ledger"
"""The hint where a ledger belongs to something else."""


def may_grow(then: str, now: str) -> bool:
    """Whether the study file `now` may go on with a ledger of the study file `then` (both without what never matters)."""
    return all(key.partition(".")[0] in GROWS for key, _, _ in changed_settings(then, now))


def difference(one: str, other: str) -> str:
    """The first setting in which two study files differ, of those that must not change if one of these does."""
    changes = changed_settings(one, other)
    for key, then, now in sorted(changes, key=lambda change: change[0].partition(".")[0] in GROWS):
        return " and ".join(
            f"{key} {when} {'not set' if value is None else repr(value)}"
            for when, value in (("was", then), ("is now", now))
        ).replace(f"and {key} is", "and is")
    return "another file"


def suggested_command(one: str, other: str) -> str:
    """A hint on how to continue the study of the ledger, or how to start the other one."""
    differences = changed_settings(one, other)
    elsewhere = "another folder with --studies keeps both"
    if differences and all(key in OPTIONS for key, _, _ in differences):
        words = [
            f"leave out --{key}" if then is None else f"type --{key} {then}" for key, then, _ in differences
        ]
        return f"to continue where it stopped, {' and '.join(words)}; {elsewhere}"
    then = {key: value for key, value, _ in differences}
    rate = tomllib.loads(one).get("baseline", {}).get("optimizer", {}).get("lr")
    if OPTIMIZER[0] in then and then.keys() <= {*OPTIMIZER, "tricks"} and rate == LR_FIND:
        name = str(then[OPTIMIZER[0]])
        classes = [reference for reference in then.get("tricks") or () if torch_name(reference) == name]
        return f"to continue where it stopped, type --optimizer {(*classes, name)[0]}; {elsewhere}"
    if any(key == "task" for key, _, _ in differences):
        return f"two tasks have the same name: give this one another with --name; {elsewhere}"
    return UNDO


def changed_settings(one: str, other: str) -> list[tuple[str, Any, Any]]:
    """What differs between two study files: (dotted name, value then, value now); None if not set."""
    then, now = (dict(_settings(tomllib.loads(text))) for text in (one, other))
    return [(key, then.get(key), now.get(key)) for key in {**then, **now} if then.get(key) != now.get(key)]


def _settings(table: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting of a TOML table with its dotted name."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _settings(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value
