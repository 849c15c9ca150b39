"""The report's documents besides the page: strict JSON, and the recommended recipe as TOML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any

from ablate.records.document import Document
from ablate.report.action import recommended_recipe
from ablate.report.data import ReportData

VERSION = 1


def json_text(document: Any) -> str:
    """Indented strict JSON: null for non-finite numbers, and nothing that could end a script element."""
    text = json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False)
    return text.replace("</", "<\\/").replace("<!--", "<\\u0021--") + "\n"


def study_document(data: ReportData) -> Document:
    """Stages, versions, hardware, seeds, hashes, timings: everything needed to reproduce the study."""
    runs = data.runs
    design, confirm = data.design or {}, data.confirm or {}
    return {
        "version": VERSION,
        "study": data.study,
        "task": data.task,
        "environment": data.environment,
        "stages": {
            str(stage): {
                "runs": len(group),
                "outcomes": {str(k): int(v) for k, v in sorted(group["outcome"].value_counts().items())},
                "seeds": sorted({int(seed) for seed in group["seed"]}),
                "seconds": data.timings.get(str(stage)),
            }
            for stage, group in runs.groupby("stage", sort=False)
        },
        "timings": data.timings,
        "baseline": data.baseline,
        "applicable": data.applicable,
        "search": data.search,
        "design": {key: value for key, value in design.items() if key not in ("rows", "aliases")},
        "confirm": {key: confirm[key] for key in ("metric", "seeds", "gain", "failed") if key in confirm},
        "winner": data.winner,
        "recommended": recommended_recipe(data),
    }


def recipe_toml(recipe: Mapping[str, Any] | None, study: str) -> str:
    """The recipe as TOML, one table per trick; only comments if there is no recipe yet."""
    name = " ".join(study.split())
    if recipe is None:
        return f"# {name}: no recipe yet\n"
    lines = [f"# {name}: the recommended recipe"]
    for trick, settings in recipe.items():
        lines += ["", f"[{_key(trick)}]"]
        lines += [f"{_key(key)} = {_value(value)}" for key, value in dict(settings or {}).items()]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    bare = name and all(c.isascii() and (c.isalnum() or c in "-_") for c in name)
    return name if bare else _string(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(float(value)) if isfinite(value) else str(value)
    return _string(str(value))


def _string(text: str) -> str:
    """A TOML basic string: JSON's escapes are valid in TOML; DEL, which JSON does not escape, is escaped too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return float(value) if isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value.item() if hasattr(value, "item") else value
