"""Optuna's importances, to stand beside the signed effects: unsigned, without interval, and so never a verdict."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

from ablate.search.generations import Suggester, TrialResult

FEWEST = 20
TOP = 0.1
FEWEST_IN_TOP = 5  # Optuna's documentation: below five good trials the figures are unstable


def importances(suggester: Suggester, results: Mapping[int, TrialResult]) -> dict[str, float]:
    """Slot or trick -> its share of the importance, largest first; shares add up to 1. Empty below 20 trials.

    PED-ANOVA (2304.10255) over the whole space (`evaluate_on_local=False`: the local form measures where the
    sampler went, and ranks tricks backwards), summed over a trick's switch and its parameters, and over the
    tricks of a slot. Pruned trials are left out, which biases the figures towards what matters early.
    """
    study = suggester.study(results)
    complete = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
    if complete < FEWEST:
        return {}
    evaluator = PedAnovaImportanceEvaluator(
        target_quantile=max(TOP, FEWEST_IN_TOP / complete), evaluate_on_local=False
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Some regimes for parameter", category=UserWarning)
        found = get_param_importances(study, evaluator=evaluator)
    shares: dict[str, float] = {}
    for name in sorted(found):  # Optuna's order is that of a set
        trick = suggester.space.catalogue.get(name.partition(".")[0])
        owner = name if trick is None else trick.slot or trick.name
        shares[owner] = shares.get(owner, 0.0) + found[name]
    return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))
