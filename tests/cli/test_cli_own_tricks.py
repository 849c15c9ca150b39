"""Tricks of the user's own: by path, in the study file, by class; and the files that `ablate new trick` writes."""

import json
import runpy
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path

import pytest
from cli_samples import INLINE, STUDY, TASK, ablate

from ablate import testing
from ablate.api import trick_template
from ablate.api.trick_template import TEMPLATES
from ablate.catalogue import literal
from ablate.ledger.store import Ledger
from ablate.testing import with_kernels

SEARCH = ("--stages", "search,report", *INLINE)


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.py").write_text(TASK)
    assert ablate(capsys, "new", "trick", "halved").code == 0
    (tmp_path / "small.toml").write_text(STUDY.replace('"placebo"]', '"placebo", "halved"]'))
    return tmp_path


FAULTS = {
    "gradient": ("g * scale", "g * scale + 1e-3"),
    "criterion": ("cross_entropy - strength", "cross_entropy + strength"),
    "model": ("x * self.gain", "x + self.gain"),
    "optimizer": ("(1 - mu) * g", "g - mu"),
    "schedule": ("(1 - floor) * share", "(1 - floor) * share**2"),
    "data": ("x + sigma * noise", "x + sigma * noise.abs()"),
}
"""Seam -> code of its template, and what a mistake makes of it."""


def test_every_seam_with_a_template_is_tested():
    files = {path.name for path in (Path(trick_template.__file__).parent / "trick_templates").iterdir()}
    assert set(FAULTS) == set(TEMPLATES)
    assert files == {f"{start}{seam}.py.txt" for start in ("", "test_") for seam in TEMPLATES}


@pytest.mark.parametrize("seam", TEMPLATES)
def test_what_new_trick_writes_is_formatted_and_passes_its_own_test(seam, tmp_path, monkeypatch, capsys):
    """Of the conformance suite's groups, each in every kernel, a fifth for a seam: kernels in turn, as in test_conformance.py."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(testing, "with_kernels", partial(a_fifth, TEMPLATES.index(seam)))
    said = ablate(capsys, "new", "trick", "halved", "--seam", seam, "--json")
    names = ["halved.py", "test_halved.py"]
    assert json.loads(said.out)["files"] == names
    for command in (
        ["ruff", "check", "--isolated", "--select", "E,F,W,I,UP,B", *names], ["ruff", "format", "--isolated", "--check", *names],
    ):  # fmt: skip
        done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert literal.read(Path("halved.py")).seam == seam
    written = runpy.run_path("test_halved.py")
    tests = {name for name in written if name.startswith("test_")}
    assert tests == {"test_equals_its_formula", "test_conforms"}
    written["test_equals_its_formula"](3)
    written["test_conforms"]()
    text = Path("halved.py").read_text()
    assert text.count(FAULTS[seam][0]) == 1
    Path("halved.py").write_text(text.replace(*FAULTS[seam]))
    with pytest.raises(AssertionError):
        written["test_equals_its_formula"](3)


def a_fifth(number, checks, name):
    """Every fifth of a trick's tasks and kernels: with three tasks and four kernels no two have a task or a kernel in common."""
    every = with_kernels(checks, name)
    return every[number % 5 :: 5]


def test_a_seam_without_a_template_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for seam, message in (
        ("weights", "unknown seam 'weights'; known: criterion, data, gradient, model, optimizer, schedule"),
        ("gradiant", "unknown seam 'gradiant'; did you mean 'gradient'?"),
        ("precision", "there is no template for the seam 'precision'; there are criterion, data, gradient, model, optimizer, schedule"),
    ):  # fmt: skip
        said = ablate(capsys, "new", "trick", "halved", "--seam", seam)
        assert (said.code, said.err, said.out) == (2, f"ablate: {message}\n", "")
    assert not list(tmp_path.iterdir())


def test_new_trick_overwrites_nothing(here, capsys):
    before = (here / "halved.py").read_text()
    said = ablate(capsys, "new", "trick", "halved")
    assert (said.code, "already exists" in said.err) == (2, True)
    assert (here / "halved.py").read_text() == before
    assert ablate(capsys, "new", "trick", "dropout").code == 2
    assert ablate(capsys, "new", "trick", "Bad Name").code == 2


def test_a_trick_by_path_is_searched_and_its_hash_and_source_are_in_the_ledger(here, capsys):
    said = ablate(capsys, "study", "small.toml", *SEARCH)
    assert (said.code, "halved" in said.err) == (2, True), "without --tricks nothing is called so"
    said = ablate(capsys, "study", "small.toml", "--trials", "8", "--tricks", "halved.py", *SEARCH)
    assert said.code == 2, "the file names it, and is read before"
    (here / "small.toml").write_text('tricks = ["halved.py"]\n' + (here / "small.toml").read_text())
    said = ablate(capsys, "study", "small.toml", "--trials", "8", *SEARCH, "--json")
    assert said.code == 0, said.err
    document = json.loads(said.out)
    assert any(row["name"].startswith("halved") for row in document["search"]["space"])
    with Ledger.open(here / "studies" / "small.db", write=False) as ledger:
        (fact,) = ledger.fact("tricks")
        assert any("halved" in entry.run.recipe for entry in ledger.entries("search"))
    assert fact["source"] == (here / "halved.py").read_text()
    (here / "halved.py").unlink()
    assert ablate(capsys, "report", "small").code == 0, "the report needs no file but the ledger"


@pytest.mark.parametrize(("trick", "path"), [("halved", "halved.py"), ("torch_adamax", "torch.optim.Adamax")])
def test_a_trick_that_is_taken_out_again_leaves_its_trials_out_of_the_choice(here, capsys, trick, path):
    (here / "own.toml").write_text(STUDY)
    study = ("study", "own.toml", "--trials", "8")
    with_trick = ("--include", f"dropout,weight_decay,placebo,{trick}", "--tricks", path)
    assert ablate(capsys, *study, *with_trick, "--stages", "search", *INLINE).code == 0
    with Ledger.open(here / "studies" / "own.db", write=True) as ledger:
        held = {entry.trial for entry in ledger.entries("search") if trick in entry.run.recipe}
        assert held, "the sample has no trial with the trick: this test would show nothing"
        search = ledger.fact("search")
        search["best"]["recipe"] |= {
            trick: next(e.run.recipe[trick] for e in ledger.entries() if trick in e.run.recipe)
        }
        ledger.put("search", search)
    said = ablate(capsys, *study, "--stages", "rank", *INLINE)
    assert said.code == 2
    assert f"has {trick}, which this study no longer has; name its file again with --tricks" in said.err
    said = ablate(capsys, "export", "own.toml", "--to", "script")
    assert (
        said.code,
        f"ablate: the trick '{trick}' of a recipe is not among the study's tricks" in said.err,
    ) == (
        2,
        True,
    )
    said = ablate(capsys, *study, *SEARCH)
    assert said.code == 0, said.err
    assert f"8 trials are kept, {len(held)} of them outside the space" in said.err
    with Ledger.open(here / "studies" / "own.db", write=False) as ledger:
        assert trick not in ledger.fact("search")["best"]["recipe"]
        assert ledger.fact("search")["done"] == 8 + len(held)


def test_an_optimizer_class_is_one_line_of_the_study_file(here, capsys):
    text = STUDY.replace('"momentum", lr = 0.1', '"x"').replace(
        'name = "x"', 'torch = "torch.optim.Adamax", lr = 0.01'
    )
    (here / "adamax.toml").write_text(text.replace("[search]", 'rival = { torch = "torch.optim.NAdam" }\n[search]').replace('"placebo"]', '"placebo", "optimizer"]'))  # fmt: skip
    assert tomllib.loads((here / "adamax.toml").read_text())["space"]["rival"] == {
        "torch": "torch.optim.NAdam"
    }
    said = ablate(capsys, "study", "adamax.toml", "--trials", "8", *SEARCH)
    assert said.code == 0, said.err
    with Ledger.open(here / "studies" / "adamax.db", write=False) as ledger:
        used = {name for entry in ledger.entries("search") for name in entry.run.recipe}
    assert "torch_adamax" in used


@pytest.mark.parametrize("name", ["torch.optim.LBFGS", "torch.optim.Adamx", "nowhere.py", "tiny.py"])
def test_what_is_no_trick_is_refused_in_one_line(here, capsys, name):
    said = ablate(capsys, "plan", "tiny.py:task", "--tricks", name, *INLINE)
    assert said.code == 2
    assert len(said.err.splitlines()) == 1


def test_a_folder_or_file_without_a_usable_record_says_what_is_wrong(here, capsys):
    (here / "empty").mkdir()
    text = (here / "halved.py").read_text()
    (here / "slot.py").write_text(text.replace('name="halved"', 'name="norm"'))
    (here / "number.py").write_text("\nTRICK = 3\n")
    (here / "notes.txt").write_text(text)
    for name, message in (
        ("empty", "the folder empty has no trick files; write one with: ablate new trick NAME"),
        ("slot.py", "the trick 'norm' has the name of a slot"),
        ("number.py", f"{here}/number.py: TRICK must be a Trick"),
        ("notes.txt", f"{here}/notes.txt is not a Python file"),
    ):
        said = ablate(capsys, "plan", "tiny.py:task", "--tricks", name, *INLINE)
        assert (said.code, said.err) == (2, f"ablate: {message}\n")


def test_tricks_lists_and_shows_own_ones(here, capsys):
    said = ablate(capsys, "tricks", "halved", "--tricks", "halved.py")
    assert said.out.startswith("halved: Halved")
    assert "torch_nadam" in ablate(capsys, "tricks", "--tricks", "torch.optim.NAdam").out
