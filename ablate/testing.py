"""The public conformance suite: what every trick and every task must satisfy, built in or plugged in.

    from ablate.testing import check_trick
    check_trick("dropout")            # or Path("my_trick.py")

Each check raises AssertionError with what was expected. The small models here are for checking, not for use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ablate.catalogue import literal
from ablate.catalogue.ports import PORTS, ports_of, unused_functions
from ablate.catalogue.registry import Registry, registry
from ablate.covering import compatible_pairs, covering_rows
from ablate.kernels.lower import available_kernels
from ablate.lanes.applicable import applicable, narrowed, scopes
from ablate.lanes.checkpoint import restore_trainer, trainer_state
from ablate.lanes.context import TaskContext
from ablate.lanes.group import grouped
from ablate.lanes.trainer import Trainer
from ablate.records.errors import did_you_mean
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.records.trick import OPTIMIZER, Trick, Value
from ablate.tasks.task import Task
from ablate.tasks.tiny_tasks import holding_tasks, small_tasks

STEPS = 20
PATIENCE = 200
"""Steps after which a trick that waits for a low loss must have acted."""
PLACEBO = "placebo"
BESIDE = 9
"""Seed of the run without the trick that is trained beside its lanes."""
BASELINE = {"momentum": {"lr": 0.03, "momentum": 0.9}}


@dataclass(frozen=True)
class Suite:
    """A catalogue and the small tasks' benches. `holding`: those whose models hold what removers take out."""

    catalogue: Registry
    benches: Mapping[str, TaskContext]
    holding: Mapping[str, TaskContext]

    def where(self, trick: str) -> list[TaskContext]:
        """The benches to which the trick applies; those of `holding` only where no other does."""
        for benches in (self.benches, self.holding):
            applicable_contexts = [
                context for context in benches.values() if not applicable(context, [trick])[trick]
            ]
            if applicable_contexts:
                return applicable_contexts
        return []

    def run(self, context: TaskContext, tricks: Mapping[str, Any], seed: int = 0) -> Run:
        """A run with the tricks on top of SGD with momentum, or of the optimizer among them."""
        fills = {self.catalogue[name].slot for name in tricks}
        base = {} if OPTIMIZER in fills else BASELINE
        return Run(
            context.task.name, Recipe.of(self.catalogue, {**base, **tricks}), seed, context.task.epochs
        )


@cache
def suite(*files: Path) -> Suite:
    """The small tasks, and the catalogue with the tricks in `files`."""
    catalogue = registry().plus(files) if files else registry()
    return Suite(catalogue, _benches(small_tasks(), catalogue), _benches(holding_tasks(), catalogue))


def _benches(tasks: Mapping[str, Task], catalogue: Registry) -> dict[str, TaskContext]:
    contexts = {name: TaskContext.of(task, catalogue, torch.device("cpu")) for name, task in tasks.items()}
    return {name: narrowed(context, scopes(context)) for name, context in contexts.items()}


def check_trick(trick: str | Path) -> None:
    """Run the whole conformance suite for a trick: a name in the catalogue, or the path of a file."""
    if isinstance(trick, Path):
        checks, name = suite(trick), literal.read(trick).name
    else:
        checks, name = suite(), trick
    for check in CHECKS:
        check(checks, name)


def check_record(checks: Suite, name: str) -> None:
    """The literal equals the record in the code; claims have sources; ports, roles and conflicts have known names."""
    entry = checks.catalogue.find(name)
    trick, code = entry.trick, entry.load()
    assert trick == code.TRICK, f"{name}: TRICK is no literal"
    assert len(entry.description.splitlines()) >= 3, (
        f"{name}: the file needs a docstring with formula and lineage"
    )
    assert trick.claims, f"{name}: a trick needs a claim"
    for claim in trick.claims:
        assert claim.statement, f"{name}: a claim needs a statement"
        assert claim.source.title, f"{name}: a claim needs a source"
    known = {*checks.catalogue, *checks.catalogue.slots()}
    for other in (*trick.conflicts, *([trick.parent] if trick.parent else [])):
        assert other in known, f"{name}: '{other}' is no trick or slot; {did_you_mean(other, known)}"
    ports = ports_of(code)
    for function in unused_functions(entry.path):
        assert function in ports, (
            f"{name}: the function '{function}' is no port and nothing in the file calls it; "
            f"{did_you_mean(function, PORTS[trick.seam])}"
        )
    assert ports, f"{name}: no port; a {trick.seam} trick has one of {sorted(PORTS[trick.seam])}"
    assert ports <= PORTS[trick.seam], f"{name}: {sorted(ports - PORTS[trick.seam])} belong to another seam"
    if trick.slot == OPTIMIZER:
        assert {"state", "update"} <= ports, f"{name}: an optimizer needs the ports 'state' and 'update'"


def check_neutral_is_baseline(checks: Suite, name: str) -> None:
    """Neutral settings give the baseline's weights, bit for bit, after 20 steps."""
    neutral = checks.catalogue[name].neutral
    if neutral is None or checks.catalogue[name].slot == OPTIMIZER:
        return
    for context in checks.where(name):
        base = advance(context, [checks.run(context, {})])
        same = advance(context, [checks.run(context, {name: neutral})])
        for parameter, value in lane_state(base, 0).items():
            other = lane_state(same, 0)[parameter]
            assert torch.equal(value, other), (
                f"{name}: neutral is not the baseline ({context.task.name}, {parameter})"
            )


def check_default_acts(checks: Suite, name: str) -> None:
    """The default setting changes weights or outputs: else it is mislabelled."""
    trick = checks.catalogue[name]
    contexts = checks.where(name)
    assert contexts, f"{name}: applies to none of the small tasks of ablate.tasks.tiny_tasks"
    if name == PLACEBO or trick.seam == "precision" or "choose" in ports_of(checks.catalogue.code(name)):
        return  # promise an equal result, or act on the choice of the epoch
    for context in contexts:
        if differs(checks, context, context.catalogue[name], STEPS):
            return
    assert any(differs(checks, context, context.catalogue[name], PATIENCE) for context in contexts), (
        f"{name}: the default changes nothing"
    )


def differs(checks: Suite, context: TaskContext, trick: Trick, steps: int) -> bool:
    """Whether the trick at acting settings changes training within `steps` steps."""
    base = advance(context, [checks.run(context, {})], steps)
    changed = advance(context, [checks.run(context, acting(trick))], steps)
    one, other = lane_state(base, 0), lane_state(changed, 0)
    same = one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    return not (same and torch.equal(base.predict("validation"), changed.predict("validation")))


def acting(trick: Trick) -> dict[str, dict[str, Value]]:
    """The trick with settings that act also on the small tasks: the strongest of each number's range."""
    settings = dict(trick.defaults)
    for parameter in trick.parameters:
        if parameter.is_number and parameter.neutral is not None and parameter.lane:
            far = parameter.high if parameter.neutral == parameter.low else parameter.low
            assert far is not None
            near = float(parameter.default)
            settings[parameter.name] = int(far) if parameter.is_integer else (far + near) / 2
    return {trick.name: settings}


def check_lanes_equal_alone(checks: Suite, name: str) -> None:
    """Lanes with different settings, and without the trick, are each what they are alone, bit for bit, in every kernel."""
    trick = checks.catalogue[name]
    benches = [
        own.with_kernel(kernel) for own in checks.where(name) for kernel in available_kernels(own.device)
    ]
    for context in benches:
        settings_of = variants(context.catalogue[name])
        runs = [checks.run(context, settings, seed) for seed, settings in enumerate(settings_of)]
        if trick.lane and not any(not parameter.lane for parameter in trick.parameters):
            runs.insert(1, checks.run(context, {}, BESIDE))
        together = advance(context, runs)
        for lane, run in enumerate(runs):
            is_neighbour = run.seed == BESIDE
            alone = (
                beside_alone(context.task.name, context.kernel) if is_neighbour else advance(context, [run])
            )
            assert_same_lane(
                together, lane, alone, 0, f"{name} in {context.task.name}, {context.kernel}, lane {lane}"
            )


@cache
def beside_alone(task: str, kernel: str) -> Trainer:
    """The run without the trick that is trained beside its lanes, by itself: the same for every trick."""
    checks = suite()
    context = {**checks.holding, **checks.benches}[task].with_kernel(kernel)
    return advance(context, [checks.run(context, {}, BESIDE)])


def variants(trick: Trick, count: int = 3) -> list[dict[str, dict[str, Value]]]:
    """`count` settings that differ in all that lanes may differ in."""
    made = []
    for i in range(count):
        settings = dict(trick.defaults)
        for parameter in trick.parameters:
            if not parameter.lane:
                continue
            if parameter.choices:
                settings[parameter.name] = parameter.choices[i % len(parameter.choices)]
            elif isinstance(parameter.default, bool):
                settings[parameter.name] = bool(i % 2)
            elif i and parameter.low is not None and parameter.high is not None:
                mean = (
                    float(parameter.default) * (3 - i) + max(parameter.low, min(parameter.high, 1.0)) * i
                ) / 3
                settings[parameter.name] = max(1, round(mean)) if parameter.is_integer else mean
        made.append({trick.name: settings})
    return made


def check_resume_is_exact(checks: Suite, name: str) -> None:
    """Saved in the middle of an epoch and restored into a fresh trainer, training goes on as if nothing was."""
    for context in checks.where(name):
        settings_of = variants(context.catalogue[name], 2)
        runs = [checks.run(context, settings, seed) for seed, settings in enumerate(settings_of)]
        whole = advance(context, runs)
        broken = advance(context, runs, steps=STEPS // 2 + 1)
        state = trainer_state(broken)
        resumed = Trainer(context, runs)
        restore_trainer(resumed, state)
        advance(context, runs, steps=STEPS - (STEPS // 2 + 1), trainer=resumed)
        for lane in range(len(runs)):
            assert_same_lane(whole, lane, resumed, lane, f"{name} resumed in {context.task.name}")


def check_works_with_others(checks: Suite, name: str) -> None:
    """Beside every other trick a step can be taken and an evaluation made, or the conflict is declared."""
    for context in checks.where(name)[:1]:
        tricks = combinable(checks, context)
        pairs = [pair for pair in compatible_pairs(tricks) if name in pair]
        check_rows(checks, context, covering_rows(tricks, pairs))


def combinable(checks: Suite, context: TaskContext) -> list[Trick]:
    """The tricks that apply to the task of `context`."""
    reasons = applicable(context)
    return [trick for trick in context.catalogue.values() if not reasons[trick.name]]


def check_rows(checks: Suite, context: TaskContext, rows: Sequence[Sequence[str]]) -> None:
    """Recipes of many tricks at their defaults, those of one structure as lanes beside each other, take two steps."""
    runs = [
        checks.run(context, {name: context.catalogue[name].defaults for name in row}, seed)
        for seed, row in enumerate(rows)
    ]
    for group in grouped(runs, checks.catalogue, 8):
        trainer = advance(context, group, steps=2)
        finite = trainer.predict("validation").isfinite().flatten(1).all(dim=1) & trainer.alive
        bad = [", ".join(run.recipe) for run, fine in zip(group, finite.tolist(), strict=True) if not fine]
        assert not bad, f"not finite after two steps in {context.task.name}: {bad[0]}"


def check_model_is_left_alone(checks: Suite, name: str) -> None:
    """Surgery works on the engine's own copies: a module that the user's factory hands out stays as it was."""
    for context in checks.where(name):
        module = context.task.model()
        before = {key: value.clone() for key, value in module.state_dict().items()}
        layers = [type(layer) for layer in module.modules()]
        advance(context, [checks.run(context, acting(context.catalogue[name]))], steps=1)
        assert layers == [type(layer) for layer in module.modules()]
        assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


CHECKS = (
    check_record,
    check_neutral_is_baseline,
    check_default_acts,
    check_lanes_equal_alone,
    check_resume_is_exact,
    check_works_with_others,
    check_model_is_left_alone,
)


def advance(
    context: TaskContext, runs: list[Run], steps: int = STEPS, trainer: Trainer | None = None
) -> Trainer:
    """A trainer of `runs`, some steps on."""
    trainer = trainer or Trainer(context, runs)
    for _ in range(steps):
        trainer.step()
    return trainer


def lane_state(trainer: Trainer, lane: int) -> dict[str, Tensor]:
    """The parameters that the lane's model uses, by common name."""
    names = trainer.forward.own_names(lane).values()
    return {name: trainer.weights[name][lane] for name in trainer.weights if name in names}


def assert_same_lane(one: Trainer, i: int, other: Trainer, j: int, what: str) -> None:
    """Equal weights (of what both have) and equal outputs, bit for bit."""
    first, second = lane_state(one, i), lane_state(other, j)
    for name in first.keys() & second.keys():
        assert torch.equal(first[name], second[name]), f"{what}: {name} differs"
    assert torch.equal(one.predict("validation")[i], other.predict("validation")[j]), (
        f"{what}: outputs differ"
    )
