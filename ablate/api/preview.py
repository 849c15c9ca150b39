"""`ablate.inspect` and `ablate.plan`: a model and a study before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Unpack

import pandas as pd

from ablate.api.arguments import checked
from ablate.api.design import check_options, checked_design
from ablate.api.open_task import opened_for
from ablate.api.settings import StudySettings
from ablate.catalogue.own_tricks import using_tricks
from ablate.lanes.inspection import inspection
from ablate.study.budget import divided_plan
from ablate.study.preflight import context_of


@dataclass(frozen=True, repr=False)
class Inspection:
    """A model before training, and the tricks for it. `document`: as `ablate inspect --json` prints it."""

    document: Mapping[str, Any]

    @property
    def layers(self) -> pd.DataFrame:
        """One row per layer: path, kind, output's shape, parameters, multiply-adds, scales at initialisation."""
        return pd.DataFrame(self.document["layers"])

    @property
    def tricks(self) -> pd.DataFrame:
        """One row per trick: seam, what it touches in the model, and why it does not apply ("" where it does)."""
        rows = [
            {"trick": name, "seam": scope["seam"], "touches": scope["text"], "why_not": scope["why_not"]}
            for name, scope in self.document["tricks"].items()
        ]
        return pd.DataFrame(rows)

    @property
    def parameters(self) -> int:
        """Number of trainable numbers."""
        return int(self.document["parameters"])

    @property
    def verdict(self) -> str:
        """ "healthy", or what is wrong with activations and gradients at initialisation."""
        return str(self.document["signal"]["verdict"])

    def _lines(self) -> list[str]:
        tricks = self.tricks
        return [
            f"{self.document['task']}: {self.parameters:,} parameters in {len(self.document['layers'])} layers",
            f"at initialisation: {self.verdict}",
            f"the model has {self.document['held']['text']}",
            f"{int((tricks['why_not'] == '').sum())} of {len(tricks)} tricks apply",
        ]

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _repr_html_(self) -> str:
        return _html(self._lines(), self.layers)


@dataclass(frozen=True, repr=False)
class StudyPlan:
    """What a study would run. `document`: as `ablate plan --json` prints it."""

    document: Mapping[str, Any]

    @property
    def estimate(self) -> pd.DataFrame:
        """stage, seconds: the estimated time of each part."""
        return pd.DataFrame(self.document["estimate_seconds"].items(), columns=["stage", "seconds"])

    @property
    def seconds(self) -> float:
        """Estimated time of the whole study."""
        return float(sum(self.document["estimate_seconds"].values()))

    @property
    def likely_range(self) -> tuple[float, float]:
        """Shortest and longest likely time of the whole study in seconds: how many runs the verdicts take is not known before."""
        least, most = self.document["estimate_range_seconds"]
        return float(least), float(most)

    @property
    def tricks(self) -> tuple[str, ...]:
        """The tricks that are searched."""
        return tuple(self.document["space"]["tricks"])

    def _lines(self) -> list[str]:
        plan, space, search = self.document, self.document["space"], self.document["search"]
        head = f"{plan['task']} on {plan['device']}: {plan['lanes']} lanes ({plan['kernel']}), {plan['workers']} workers"
        return [
            head,
            *str(plan["budget"]).splitlines(),
            f"{len(space['tricks'])} tricks, {space['dimensions']} dimensions; {search['trials']} trials in {search['groups']} groups",
            f"about {self.seconds:.0f} s",
        ]

    def __repr__(self) -> str:
        return "\n".join([*self._lines(), self.estimate.round(1).to_string(index=False)])

    def _repr_html_(self) -> str:
        return _html(self._lines(), self.estimate.round(1))


@checked
def inspect(
    task: Any = None,
    *,
    model: Callable[[], Any] | None = None,
    data: Any = None,
    criterion: str = "",
    with_: str | Sequence[str] = (),
    **settings: Unpack[StudySettings],
) -> Inspection:
    """A model's layers, its scales at initialisation, and which tricks apply to it. Task, model and data: as for `study`.

    with_: tricks of the model with which the layers are shown. Trains nothing. Raises InputError.
    """
    opened, options = opened_for(task, settings, model, data, criterion)
    with using_tricks(opened.tricks):
        tricks = [with_] if isinstance(with_, str) else list(with_)
        return Inspection(inspection(context_of(opened, options), tricks))


@checked
def plan(
    task: Any = None,
    *,
    model: Callable[[], Any] | None = None,
    data: Any = None,
    criterion: str = "",
    trials: int | None = None,
    budget: str = "",
    design: str = "",
    **settings: Unpack[StudySettings],
) -> StudyPlan:
    """Space, groups, design, power and time of a study; trains nothing (a few steps are timed). Arguments: as for `study`.

    design: of the ranking, as for `rank`. Raises InputError.
    """
    given = dict(settings)
    if design:
        check_options(checked_design(design), budget, {})
        given["rank"] = {**(settings.get("rank") or {}), "design": design}
    opened, options = opened_for(task, given, model, data, criterion, trials=trials)  # type: ignore[arg-type]
    with using_tricks(opened.tricks):
        return StudyPlan(divided_plan(budget.strip(), opened, options))


def _html(lines: Sequence[str], table: pd.DataFrame) -> str:
    head, *others = map(escape, lines)
    return "".join(
        [
            f"<strong>{head}</strong>",
            *(f"<p>{line}</p>" for line in others),
            str(table.to_html(index=False, border=0)),
        ]
    )
