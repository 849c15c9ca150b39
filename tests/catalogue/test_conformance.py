"""The conformance suite over the whole catalogue, and over a trick that is somebody's own."""

from inspect import signature
from pathlib import Path

import pytest

from ablate import resume_suite
from ablate.catalogue import literal
from ablate.catalogue.ports import ports_of
from ablate.catalogue.registry import registry
from ablate.records.errors import InputError
from ablate.records.trick import SEAMS
from ablate.resume_suite import check_resume_of
from ablate.testing import (
    CHECKS,
    check_lanes_equal_alone,
    check_lanes_of,
    check_resume_is_exact,
    check_trick,
    check_works_with_others,
    resumed_runs,
    suite,
    with_kernels,
)

OWN = '''"""Halves every gradient.

    g ← g / 2

Lineage: none; an example of a trick of one's own.
"""

from ablate.records.trick import Claim, Parameter, Source, Trick


def gradient(gradients, weights, p):
    return gradients.like(gradients.flat * p.like("factor", gradients.flat))


TRICK = Trick(
    name="half_gradient",
    title="Half the gradient",
    seam="gradient",
    parameters=(Parameter("factor", 0.5, low=0.1, high=1.0, neutral=1.0),),
    claims=(Claim("accuracy", "same", "nothing much", Source("none", "nobody", 2026)),),
)
'''


NAMES = list(registry())
IN_THE_PASS = ("model", "objective", "precision")
"""Seams whose tricks run within the forward pass, where each kernel has code of its own for them."""
APART = (check_works_with_others, check_lanes_equal_alone, check_resume_is_exact)
EACH = [check for check in CHECKS if check not in APART]
"""Pairs of tricks are tested all at once, in test_pairs.py; kernels in turn, below."""


@pytest.mark.parametrize("check", EACH, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", NAMES)
def test_conformance(name: str, check: object):
    check(suite(), name)  # type: ignore[operator]


@pytest.mark.parametrize("name", NAMES)
def test_lanes_equal_alone(name: str):
    """Every kernel for tricks in the pass, each in every third task; one kernel a task for the others.

    The next trick of the catalogue has pairs of task and kernel that this one leaves out: three of the former cover
    all, and as many of the latter as there are kernels.
    """
    checks, number = suite(), NAMES.index(name)
    contexts = with_kernels(checks, name)
    kernels = len({context.kernel for context in contexts})
    share = 3 if registry()[name].seam in IN_THE_PASS else kernels
    contexts = [
        lane_context for i, lane_context in enumerate(contexts) if (i + i // kernels + number) % share == 0
    ]
    assert contexts
    for context in contexts:
        check_lanes_of(checks, name, context)


@pytest.mark.slow_oracle
@pytest.mark.parametrize("name", NAMES)
def test_lanes_equal_alone_in_every_task_by_every_kernel(name: str):
    check_lanes_equal_alone(suite(), name)


@pytest.mark.parametrize("name", NAMES)
def test_a_training_killed_at_five_steps_is_the_training(name: str):
    """One kernel a task, the next one for the next trick; every second trick in mixed precision where it can be."""
    checks, number = suite(), NAMES.index(name)
    contexts = with_kernels(checks, name)
    kernels = len({context.kernel for context in contexts})
    for i, context in enumerate(contexts):
        if (i + i // kernels + number) % kernels == 0:
            mixed = resumed_runs(checks, context, name, mixed=True) if number // kernels % 2 else []
            runs = mixed or resumed_runs(checks, context, name)
            check_resume_of(context, runs, f"{name} in {context.task.name}, {context.kernel}")


@pytest.mark.slow_oracle
@pytest.mark.parametrize("mixed", [False, True], ids=["", "mixed"])
@pytest.mark.parametrize("name", NAMES)
def test_a_training_killed_at_five_steps_is_the_training_in_every_task_by_every_kernel(
    name: str, mixed: bool
):
    checks, resumed = suite(), 0
    for context in with_kernels(checks, name):
        if runs := resumed_runs(checks, context, name, mixed=mixed):
            check_resume_of(context, runs, f"{name} in {context.task.name}, {context.kernel}")
            resumed += 1
    if not resumed:
        assert mixed, "no run was resumed"
        pytest.skip(f"{name} is trained in no task in mixed precision")


def test_a_trick_of_ones_own_passes_by_its_path(tmp_path: Path):
    file = tmp_path / "half_gradient.py"
    file.write_text(OWN, encoding="utf-8")
    check_trick(file)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (("gradients.flat * p.like", "gradients.flat.sum() * p.like"), "alone|baseline"),
        (('p.like("factor", gradients.flat)', "1.0"), "changes nothing"),
        (("neutral=1.0", "neutral=0.5"), "neutral is not the baseline"),
        (("def gradient(", "def update("), "another seam"),
        (("def gradient(", "def gradiant("), "'gradiant' is not a port .*did you mean 'gradient'"),
        (
            ("TRICK = ", "def penalyt(weights, p):\n    return penalyt(weights, p)\n\n\nTRICK = "),
            "'penalyt' is not a port",
        ),
        (('seam="gradient",', 'seam="gradient", roles=("needs_retun",),'), "unknown role 'needs_retun'"),
        (('seam="gradient",', 'seam="gradient", roles=("conditional(dropuot)",),'), "did you mean 'dropout'"),
        (('seam="gradient",', 'seam="gradient", conflicts=("dropuot",),'), "did you mean 'dropout'"),
        (('seam="gradient",', 'seam="optimizer", slot="optimizer",'), "needs a parameter 'lr'"),
        (("    claims=(Claim(", "    claims=() and (Claim("), "literal"),
    ],
)
def test_the_suite_can_fail(tmp_path: Path, change: tuple[str, str], what: str):
    """Each planted fault is found."""
    file = tmp_path / "half_gradient.py"
    assert change[0] in OWN
    file.write_text(OWN.replace(*change), encoding="utf-8")
    with pytest.raises((AssertionError, InputError), match=what):
        check_trick(file)


def test_an_optimizer_needs_its_ports(tmp_path: Path):
    file = tmp_path / "half_gradient.py"
    source = OWN.replace('seam="gradient",', 'seam="optimizer", slot="optimizer",').replace(
        '"factor"', '"lr"'
    )
    file.write_text(source.replace("def gradient(", "def update("), encoding="utf-8")
    with pytest.raises(AssertionError, match="needs the ports 'state' and 'update'"):
        check_trick(file)


def test_adding_a_file_adds_a_trick(tmp_path: Path):
    file = tmp_path / "half_gradient.py"
    file.write_text(OWN, encoding="utf-8")
    assert set(registry().plus([file])) - set(registry()) == {"half_gradient"}
    with pytest.raises(InputError, match="two tricks are called"):
        registry().plus([file, file])


def test_records_are_read_without_running_the_file(tmp_path: Path):
    file = tmp_path / "evil.py"
    file.write_text("raise RuntimeError('run')\n" + OWN.partition('"""\n\n')[2], encoding="utf-8")
    assert literal.read(file).name == "half_gradient"
    file.write_text("TRICK = 1\n\nTRICK = Trick(name=open('/etc/passwd').read())\n", encoding="utf-8")
    with pytest.raises(InputError, match="must be a literal"):
        literal.read(file)
    file.write_text("\nTRICK = Trick(titel='x', name='x')\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"evil.py: unknown argument 'titel'; did you mean 'title'\?"):
        literal.read(file)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("parameters", "(1,)", r"parameters is '\(1,\)', not tuple\[Parameter, ...\]"),
        ("parameters", "0.5", r"not tuple\[Parameter, ...\]"),
        ("claims", "('better',)", r"not tuple\[Claim, ...\]"),
        ("lane", "1", "lane is '1', not bool"),
        ("slot", "True", r"slot is 'True', not str \| None"),
        ("seam", "'model '", r"not Literal\['data'"),
    ],
)
def test_a_value_of_another_type_is_one_line_of_a_record(
    field: str, value: str, message: str, tmp_path: Path
):
    values = {"name": "'x'", "title": "'x'", "seam": "'model'", "claims": "()"} | {field: value}
    file = tmp_path / "x.py"
    file.write_text(
        f"\nTRICK = Trick({', '.join(f'{k}={v}' for k, v in values.items())})\n", encoding="utf-8"
    )
    with pytest.raises(InputError, match=message):
        literal.read(file)


def test_only_ports_of_the_seam_data_have_draws():
    """As docs/architecture.md and the file of `ablate new trick` say; an objective has those of its batch."""
    catalogue = registry()
    drawing = {
        catalogue[name].seam
        for name in catalogue
        for port in ports_of(catalogue.code(name))
        if "draws" in signature(getattr(catalogue.code(name), port)).parameters
    }
    assert drawing == {"data"}


def test_every_seam_has_a_trick_and_every_kind_of_parameter_is_there():
    catalogue = registry()
    assert {trick.seam for trick in catalogue.values()} == set(SEAMS)
    parameters = [p for trick in catalogue.values() for p in trick.parameters]
    assert any(p.choices for p in parameters)
    assert any(p.is_integer for p in parameters)
    assert any(p.log for p in parameters)
    assert any(isinstance(p.default, bool) for p in parameters)
    assert any(not p.lane for p in parameters)


def test_a_restored_training_that_ends_without_results_is_noticed(monkeypatch):
    restored = resume_suite._restored

    def lossy(training):
        again = restored(training)
        finish = again.finish

        def finished():
            finish()
            again.results.clear()

        again.finish = finished
        return again

    monkeypatch.setattr(resume_suite, "_restored", lossy)
    tests = suite()
    context = with_kernels(tests, "ema")[0]
    with pytest.raises(AssertionError, match="ended without results"):
        check_resume_of(context, resumed_runs(tests, context, "ema"), "ema", ((0, 1),))
