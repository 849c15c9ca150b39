"""Optuna's TPE, fitted once for all trials of a generation.

`Study.ask` fits TPE's two densities for every trial and, if parameters are conditional, for every one
of them: a dozen fits of 1 to 2 ms each per trial. The trials of a generation learn from the same
results, so here each part of the space is fitted once and all its values are drawn together. The densities,
the split into good and bad trials, the candidates and their selection are methods of Optuna's `TPESampler`; the
version of Optuna is therefore bounded in pyproject.toml, and a test compares the draws with `sample_relative`.
Watanabe 2023 (2304.11127).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.sampler import _split_trials, default_gamma
from optuna.trial import FrozenTrial, TrialState

from ablate.records.trick import Value

CANDIDATES = 12
"""Half of Optuna's default: no worse on synthetic objectives (bench/results/search.md), in half the time."""


class FittedTPE(TPESampler):
    """TPE fitted to `trials` (complete and pruned ones; others are ignored).

    `internal`: number of a trial -> its parameters in Optuna's internal representation (`TrialConverter.internal`).
    """

    def __init__(
        self,
        study: optuna.Study,
        trials: Sequence[FrozenTrial],
        internal: Mapping[int, Mapping[str, float]],
        seed: int,
        candidates: int = CANDIDATES,
    ) -> None:
        super().__init__(
            seed=seed, n_ei_candidates=candidates, n_startup_trials=1, multivariate=True, constant_liar=False
        )
        self.study = study
        self.internal = internal
        observed = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        self.good, self.bad = _split_trials(study, observed, default_gamma(len(observed)))

    def _get_internal_repr(
        self, trials: list[FrozenTrial], search_space: dict[str, BaseDistribution], study: optuna.Study
    ) -> dict[str, np.ndarray]:
        """The values of `search_space` in those of `trials` that have all of them."""
        rows = [
            internal for t in trials if search_space.keys() <= (internal := self.internal[t.number]).keys()
        ]
        return {name: np.array([row[name] for row in rows], dtype=float) for name in search_space}

    def draw(self, space: Mapping[str, BaseDistribution], count: int) -> list[dict[str, Value]]:
        """`count` joint draws of the parameters of `space`, from the trials that have all of them."""
        names = dict(space)
        good = self._build_parzen_estimator(self.study, names, self.good, handle_below=True)
        bad = self._build_parzen_estimator(self.study, names, self.bad, handle_below=False)
        each = self._n_ei_candidates
        candidates = good.sample(self._rng.rng, count * each)
        gains = self._compute_acquisition_func(candidates, good, bad)
        drawn = []
        for start in range(0, count * each, each):
            part = slice(start, start + each)
            best = self._compare({name: column[part] for name, column in candidates.items()}, gains[part])
            drawn.append(
                {
                    name: cast(Value, distribution.to_external_repr(best[name]))
                    for name, distribution in names.items()
                }
            )
        return drawn
