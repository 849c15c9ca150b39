"""The candidates of a ranking: the winner's tricks, and those that the search's best trials often had."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite

from ablate.ledger.entry import Entry
from ablate.records.recipe import Recipe, conflict
from ablate.records.run import Outcome
from ablate.records.trick import Trick, Value

Seen = Mapping[str, tuple[int, Mapping[str, Value]]]
"""Trick -> the place of the best trial that had it, and its settings there."""
FEWEST, BEST, OFTEN = 20, 4, 5
"""With at least FEWEST complete trials, a candidate occurs in at least 1/OFTEN of the best 1/BEST of them."""
HARDLY = "hardly one of the search's best trials had it: see its exploratory effect"
OWN_RATE = "needs a learning rate of its own, and the winner does without it"
ASK = "ask for it in levels of [rank]"


def best_seen(entries: Sequence[Entry], score: Callable[[Entry], float]) -> Seen:
    """The tricks that the best quarter of the trials had, a fifth of them at least.

    Empty (every trick is a candidate) where too few trials were completed to call one hopeless.
    `score`: an entry's metric, more is better.
    """
    trials = [e for e in entries if e.trial >= 0 and isfinite(score(e))]
    trials = [entry for entry in trials if entry.result.outcome is Outcome.COMPLETE]
    if len(trials) < FEWEST:
        return {}
    trials.sort(key=lambda entry: (-score(entry), entry.trial))
    best = trials[: -(-len(trials) // BEST)]
    counts = Counter(name for entry in best for name in entry.run.recipe)
    candidates: dict[str, tuple[int, Mapping[str, Value]]] = {}
    for place, entry in enumerate(best):
        for name, settings in entry.run.recipe.items():
            if counts[name] * OFTEN >= len(best):
                candidates.setdefault(name, (place, settings))
    return candidates


def doubt(trick: Trick, winner: Recipe, seen: Seen, *, retuned: bool) -> str:
    """Why the ranking leaves out a trick that was not requested; empty if it does not."""
    if trick.name in winner:
        return ""
    if seen and trick.name not in seen:
        return HARDLY
    structural = any(not parameter.lane for parameter in trick.parameters)
    if trick.slot == "optimizer" and not (retuned and seen):
        return f"{OWN_RATE}; {ASK}" if retuned else OWN_RATE
    if structural and "needs_retune" in trick.roles and not retuned:
        return OWN_RATE
    return ""


def clash(names: Iterable[str], chosen: Iterable[str], catalogue: Mapping[str, Trick]) -> str:
    """Why one of `names` conflicts with one of `chosen` in another slot; empty if none does."""
    pairs = ((catalogue[name], catalogue[other]) for name in names for other in chosen if name != other)
    across_slots = ((one, other) for one, other in pairs if not one.slot or one.slot != other.slot)
    return next((why for one, other in across_slots if (why := conflict(one, other))), "")
