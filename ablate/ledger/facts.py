"""The documents of a ledger in the forms that ablate writes: a forged one is one line, not an error in whatever reads it.

A digest tells damage; who forges a document computes its digest too. The forms say what of a document is used, so that those of earlier
versions have them too.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ablate.ledger.codec import decode
from ablate.ledger.index import Fact
from ablate.records.errors import InputError
from ablate.records.forms import RECIPE, SCALAR, Each, Either, Like, maybe, mismatch

NUMBER = maybe(float)
BUDGET = Like(r"(\d+(\.\d+)? *[a-z]+)?")
LEVELS = Each(str)
INTERVAL = {"effect": float, "low": float, "high": float, "pairs": int}
PLACE = {"levels": LEVELS, "seed": int, "block": int, "wave": int}
FACTOR = {"name": str, "levels": [str], "role": str, "parent?": maybe(str)}
DESIGN = {"version": int, "kind": str, "note?": str, "factors": [FACTOR], "rows": [PLACE]}
ROWS_OF_ARRAY = [{"identity": str, **PLACE}]
EFFECT = {
    "arm": str, "trick": str, "estimand": Like("add-one|toggle"),
    **dict.fromkeys(("effect", "low", "high", "se", "df", "p", "p_adjusted"), float),
    "verdict": Like("(helps|hurts)( a little)?|no measurable effect|undecided"), "in_recipe": bool, "settings": str, "against": str, "rate": NUMBER, "reference_rate": NUMBER, "pairs": int,
    "same": bool, "runs": int, "failed": int, "more_pairs": maybe(int), "recipe_with": RECIPE, "recipe_without": RECIPE,
    "seeds?": [int], "seconds?": float, "look?": int, "tuning_se?": float,
}  # fmt: skip
POINT = {
    "recipe": RECIPE,
    "rate": NUMBER,
    "scores": [NUMBER],
    "final": [NUMBER],
    "seeds?": [int],
    "chosen": bool,
    "loss?": float,
}
FIT = {"trials": maybe(int), "left_out": LEVELS, "words": str, "every": float}
LADDER = {
    "levels": [NUMBER], "baseline?": RECIPE, "total": INTERVAL,
    "steps": [{"trick": str, "change": str, "settings": str, "rate": NUMBER, "recipe?": RECIPE, **INTERVAL}],
}  # fmt: skip
FIGURES = {
    "suggestions?": Each(NUMBER), "curves?": Each([NUMBER]), "drops?": Each(NUMBER), "score?": Each(NUMBER), "by_seed?": Each(NUMBER),
    "cells?": [Each(SCALAR)], "lr?": [NUMBER], "loss?": Either((float, [NUMBER])),
}  # fmt: skip
"""The figures of a step of lr-find."""
KEPT = {
    "trick": str, "why": str, "against?": str, "without?": [str], "put_back?": [str], **{f"{key}?": kind for key, kind in INTERVAL.items()},
}  # fmt: skip
"""A trick without an effect that is in the lean recipe, and the step that says that it has to stay."""
TUNED = {
    "kind": str, "around": RECIPE, "baseline": RECIPE, "margin": NUMBER, "margin_source?": str, "metric?": str, "rows?": [EFFECT],
    "tuning?": Each([POINT]), "edges?": [str], "left_out?": Each(Each(str)), "complete?": bool, "spent?": Each(int),
    "races?": [{"estimand": str, "scored?": str, "family?": int, "sigma?": float}],
    "budget": {
        "tuning": dict.fromkeys(("first", "finalists", "repeats", "rounds"), int), "racing": {"pairs": [int], "alpha": float, "levels": [float]}, "runs": int, "asked": BUDGET,
        "seconds?": NUMBER, "seconds_per_run": NUMBER,
    },
    "lean?": {"removed": [str], "added?": [str], "replaced?": Each(str), "kept?": [KEPT], "recipe": RECIPE},
    "ladder?": maybe(LADDER), "tuning_spent?": Each(float),
    "recommended?": {"recipe": RECIPE, "is_baseline": bool, "gain?": maybe(INTERVAL)}, "fit?": {"asked": BUDGET, **FIT},
    "late?": {"asked": BUDGET, "tricks": [str]},
    "helped?": maybe({"recipe": RECIPE, "changes": [str], "gain": INTERVAL, "found": maybe(INTERVAL), "is_recommended": bool}),
    "tuned_from?": {"runs": int, "seconds": maybe(float), "others?": float, "had?": float},
}  # fmt: skip
ARRAY = {
    "kind?": str, "rows?": ROWS_OF_ARRAY, "design?": DESIGN, "margin?": NUMBER, "margin_source?": str, "alpha?": float, "looks?": int,
    "waves?": int, "left_out?": Each(str), "around?": RECIPE, "shipped?": LEVELS, "collapse?": NUMBER, "seeds?": [[int]],
    "apart?": {"rows?": ROWS_OF_ARRAY, "design?": DESIGN, "shipped?": LEVELS}, "retune?": maybe(Each(object)), "pilot?": maybe(Each(object)),
    "meaning?": Each(Each(RECIPE)), "recommended?": {"recipe": RECIPE},
}  # fmt: skip
FORMS: dict[str, Any] = {
    "study": {
        "name?": str, "given?": str, "named?": str, "task?": str, "metric?": str, "direction?": str, "epochs?": int, "seed?": int,
        "file?": str, "sha256?": str, "essential?": str, "command?": str, "ranked_by?": str, "created?": str,
    },
    "task": {
        "name?": str, "title?": str, "criterion?": str, "kind?": str, "source?": str, "source_sha256?": str, "data_sha256?": str,
        "definition?": {"structure?": str, "code?": str}, "metric?": str, "direction?": str, "epochs?": int, "batch_size?": int,
        "splits?": Each(int), "class_counts?": Each([float]), "parameters?": int, "notes?": [str], "input_shape?": [int], "labels?": [object],
    },
    "environment": Each(SCALAR),
    "kernel": {
        "kernel": str, "lanes": int, "source?": str,
        "timings": [{"kernel": str, "lanes": int, "seconds": float, "bytes": float}],
    },
    "applicable": Each(str),
    "surgery": {
        "held?": {"layers?": Each(Each(int)), "out_of_reach?": Each(Each(int)), "residual_additions?": int, "weight_norms?": Each(int), "text?": str},
        "tricks?": Each({"touched": int, "left": [[SCALAR]], "text": str}),
    },
    "baseline": RECIPE,
    "timings": Each(float),
    "budget": {"asked": str, "rank": str, "later?": float, "fit?": FIT, "late?": [str], "add_one_only?": [str]},
    "lr-find": {
        "steps?": [{"step": int, "name": str, "verdict": str, "figures": FIGURES, "findings": [{"code?": str, "message": str, "advice?": str, "where?": str}]}],
        "task?": str, "device?": str, "optimizer?": str, "complete?": bool, "learning_rate?": NUMBER, "weight_decay?": NUMBER,
    },
    "search": {
        "trials?": int, "done?": int, "sampler?": str, "pruner?": str, "generation?": int, "lanes?": int, "groups?": int,
        "mean_lanes?": float, "outcomes?": Each(int), "seconds?": float,
        "space?": [{"name": str, "choices?": [SCALAR], "low?": float, "high?": float, "log?": bool, "integer?": bool, "structural?": bool}],
        "best?": {"trial?": int, "recipe": RECIPE, "value?": float, "seeds?": int, "removed?": [str], "whole?": RECIPE},
        "first?": {"recipes": [RECIPE], "source?": str}, "kept?": Each(object), "outside?": int, "stopped?": Each(object),
    },
    "rank": Either((TUNED, ARRAY)),
    "confirm": {"arms?": Each(RECIPE), "seeds?": [int]},
    "costs": [{"trick": str, **{f"{name}?": NUMBER for name in ("ms_per_step", "time_ratio", "memory_ratio", "inference_ratio", "n")}}],
    "tricks": [Either(({"optimizer": str}, {"path": str, "source": str, "sha256?": str}))],
}  # fmt: skip


def document(path: Path, key: str, fact: Fact) -> Any:
    """The document of `fact`, a copy. Raises InputError where it has another form."""
    if what := _difference(key, fact.document):
        raise InputError(
            f"{path} says of '{key}' what ablate does not write: {what}",
            hint="take another copy of it, or begin again under another --name",
        )
    return decode(fact.document)


def documents(path: Path, facts: Mapping[str, Fact]) -> dict[str, Any]:
    """All documents by key. Raises InputError."""
    return {key: document(path, key, fact) for key, fact in facts.items()}


@lru_cache(maxsize=64)
def _difference(key: str, text: str) -> str:
    """Cached, because a driver reads the same text hundreds of times."""
    form = FORMS.get(key)
    if form is None:
        return ""
    value = decode(text)
    if key == "rank":
        form = ARRAY
        if isinstance(value, dict) and value.get("kind") == "tuned":
            form = TUNED | {"margin": float} if value.get("rows") else TUNED
    # A fact that was put as null or as an empty table is one that says nothing.
    return "" if value is None or value == {} else mismatch(value, form, key)
