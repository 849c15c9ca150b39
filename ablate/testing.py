"""The public conformance suite: what every trick and every executor must satisfy, built in or plugged in.

    from ablate.testing import check_executor, check_trick
    check_trick("dropout")            # or Path("my_trick.py")
    check_executor(my_factory)        # called with (workers, progress); factory_of("module:factory") makes one

Each check raises AssertionError with what was expected. The small models here are for checking, not for use.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch

from ablate.catalogue import literal
from ablate.catalogue.ports import PORTS, ports_of, unused_functions
from ablate.covering import compatible_pairs, covering_rows
from ablate.executor_suite import check_executor as check_executor  # the public name
from ablate.kernels.lower import available_kernels
from ablate.lanes.applicable import applicable
from ablate.lanes.context import TaskContext
from ablate.lanes.group import grouped
from ablate.lanes.trainer import Trainer
from ablate.records.errors import did_you_mean
from ablate.records.recipe import conflict
from ablate.records.run import Run
from ablate.records.trick import OPTIMIZER, PLACEBO, Trick
from ablate.resume_suite import check_resume_of
from ablate.trick_suite import STEPS, Suite, acting, advance, assert_same_lane, lane_state, suite, variants

STEPS_PAST_AN_EPOCH = 8
"""Steps past the end of an epoch (of 6 steps): weights that differ by a bit then differ for good."""
LATE_SEAMS = ("evaluation", "schedule")
"""Seams of tricks that begin to act after several epochs."""
PATIENCE = 200
"""Steps after which a trick that waits for a low loss must have acted."""
AMP = "amp"
"""The trick that trains in mixed precision."""
NEIGHBOUR_SEED = 9
"""Seed of the run without the trick that is trained as a lane among those with it."""


def steps_of(trick: Trick) -> int:
    """Steps for which trainings of the trick are compared."""
    return STEPS if trick.seam in LATE_SEAMS else STEPS_PAST_AN_EPOCH


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
    assert trick == code.TRICK, f"{name}: TRICK is not a literal"
    assert len(entry.description.splitlines()) >= 3, (
        f"{name}: the file needs a docstring with formula and lineage"
    )
    assert trick.claims, f"{name}: a trick needs a claim"
    for claim in trick.claims:
        assert claim.statement, f"{name}: a claim needs a statement"
        assert claim.source.title, f"{name}: a claim needs a source"
    names = {*checks.catalogue, *checks.catalogue.slots()}
    for other in (*trick.conflicts, *([trick.parent] if trick.parent else [])):
        assert other in names, f"{name}: '{other}' is not a trick or slot; {did_you_mean(other, names)}"
    ports = ports_of(code)
    for function in unused_functions(entry.path):
        assert function in ports, (
            f"{name}: the function '{function}' is not a port and nothing in the file calls it; "
            f"{did_you_mean(function, PORTS[trick.seam])}"
        )
    assert ports, f"{name}: no port; a {trick.seam} trick has one of {sorted(PORTS[trick.seam])}"
    assert ports <= PORTS[trick.seam], f"{name}: {sorted(ports - PORTS[trick.seam])} belong to another seam"
    if trick.slot == OPTIMIZER:
        assert {"state", "update"} <= ports, f"{name}: an optimizer needs the ports 'state' and 'update'"


def check_neutral_is_baseline(checks: Suite, name: str) -> None:
    """Neutral settings give the baseline's weights, bit for bit, in the second epoch."""
    trick = checks.catalogue[name]
    if trick.neutral is None or trick.slot == OPTIMIZER:
        return
    for context in checks.where(name):
        base = baseline(context.task.name, context.kernel, steps_of(trick))
        same = advance(context, [checks.run(context, {name: trick.neutral})], steps_of(trick))
        for parameter, value in lane_state(base, 0).items():
            other = lane_state(same, 0)[parameter]
            assert torch.equal(value, other), (
                f"{name}: neutral is not the baseline ({context.task.name}, {parameter})"
            )


def check_default_acts(checks: Suite, name: str) -> None:
    """The default setting changes weights or outputs: otherwise it is mislabelled."""
    trick = checks.catalogue[name]
    contexts = checks.where(name)
    assert contexts, f"{name}: applies to none of the small tasks of ablate.tasks.tiny_tasks"
    if name == PLACEBO or trick.seam == "precision" or "choose" in ports_of(checks.catalogue.code(name)):
        return  # these promise an equal result, or act on the choice of the epoch
    lengths = (STEPS_PAST_AN_EPOCH, STEPS, PATIENCE)
    assert any(
        differs(checks, context, context.catalogue[name], steps) for steps in lengths for context in contexts
    ), f"{name}: the default changes nothing"


def differs(checks: Suite, context: TaskContext, trick: Trick, steps: int) -> bool:
    """Whether the trick at acting settings changes training within `steps` steps."""
    base = baseline(context.task.name, context.kernel, steps)
    changed = advance(context, [checks.run(context, acting(trick))], steps)
    one, other = lane_state(base, 0), lane_state(changed, 0)
    same = one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    return not (same and torch.equal(base.predict("validation"), changed.predict("validation")))


def check_lanes_equal_alone(checks: Suite, name: str) -> None:
    """Lanes with different settings, and without the trick, train as alone, bit for bit, in every kernel."""
    for context in with_kernels(checks, name):
        check_lanes_of(checks, name, context)


def with_kernels(checks: Suite, name: str) -> list[TaskContext]:
    """Each of the trick's small tasks with each kernel; the kernel varies fastest."""
    return [
        context.with_kernel(kernel)
        for context in checks.where(name)
        for kernel in available_kernels(context.device)
    ]


def check_lanes_of(checks: Suite, name: str, context: TaskContext) -> None:
    """`check_lanes_equal_alone` for one task and kernel."""
    trick = context.catalogue[name]
    steps = steps_of(trick)
    runs = [checks.run(context, settings, seed) for seed, settings in enumerate(variants(trick))]
    if trick.lane and not any(not parameter.lane for parameter in trick.parameters):
        runs.insert(1, checks.run(context, {}, NEIGHBOUR_SEED))
    together = advance(context, runs, steps)
    for lane, run in enumerate(runs):
        is_neighbour = run.seed == NEIGHBOUR_SEED
        alone = (
            baseline(context.task.name, context.kernel, steps, NEIGHBOUR_SEED)
            if is_neighbour
            else advance(context, [run], steps)
        )
        assert_same_lane(
            together, lane, alone, 0, f"{name} in {context.task.name}, {context.kernel}, lane {lane}"
        )


@cache
def baseline(task: str, kernel: str, steps: int, seed: int = 0) -> Trainer:
    """A run without the trick, trained alone: the same for every trick. Not to be trained further."""
    checks = suite()
    context = {**checks.holding, **checks.contexts}[task].with_kernel(kernel)
    return advance(context, [checks.run(context, {}, seed)], steps)


def check_resume_is_exact(checks: Suite, name: str) -> None:
    """A training that is killed at five steps is the uninterrupted one, bit for bit, in every kernel."""
    for context in with_kernels(checks, name):
        check_resume_of(
            context, resumed_runs(checks, context, name), f"{name} in {context.task.name}, {context.kernel}"
        )


def resumed_runs(checks: Suite, context: TaskContext, name: str, *, mixed: bool = False) -> list[Run]:
    """Two runs with the trick. `mixed`: in mixed precision too, where the trick and the task allow it; else none."""
    trick, other = context.catalogue[name], context.catalogue[AMP]
    if mixed and (name == AMP or conflict(trick, other) or applicable(context, [AMP])[AMP]):
        return []
    more = {AMP: other.defaults} if mixed else {}
    return [
        checks.run(context, {**settings, **more}, seed) for seed, settings in enumerate(variants(trick, 2))
    ]


def check_works_with_others(checks: Suite, name: str) -> None:
    """Check that a step and an evaluation work with every other trick, or the conflict is declared."""
    for context in checks.where(name)[:1]:
        tricks = combinable(checks, context)
        pairs = [pair for pair in compatible_pairs(tricks) if name in pair]
        check_rows(checks, context, covering_rows(tricks, pairs))


def combinable(checks: Suite, context: TaskContext) -> list[Trick]:
    """The tricks that apply to the task of `context`."""
    reasons = applicable(context)
    return [trick for trick in context.catalogue.values() if not reasons[trick.name]]


def check_rows(checks: Suite, context: TaskContext, rows: Sequence[Sequence[str]]) -> None:
    """Recipes of many tricks at their defaults, those of one structure as lanes of a group, take two steps."""
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
    """Surgery works on the engine's own copies: a module from the user's factory is unchanged."""
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
