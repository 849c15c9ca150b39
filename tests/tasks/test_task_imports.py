"""What loading a task imports: told beforehand, and no more than it needs."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from ablate.tasks import sources
from ablate.tasks.imports import imports, of_source, of_task
from ablate.tasks.task_cards import CARDS, FETCH

LOADED = """
import os, sys
from ablate.tasks.load import load
assert not {'pandas', 'sklearn', 'scipy'} & set(sys.modules)
names = 'pandas', 'sklearn.compose', 'sklearn.impute', 'sklearn.preprocessing', 'sklearn.datasets'
for task in sys.argv[1:]:
    child = os.fork()
    if not child:
        load(task)
        print(*(name for name in names if name in sys.modules), flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""
"""A process that has imported torch loads each task in a copy of itself, and tells what was imported: a line a task."""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_what_is_told_is_what_loading_imports(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n" + "1,a\n2,b\n" * 20)
    table = f"{tmp_path}/a.csv:y"
    names = ("digits", "wine", table)
    done = subprocess.run([sys.executable, "-c", LOADED, *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    imported = {name: line.split() for name, line in zip(names, done.stdout.splitlines(), strict=True)}
    for name in ("digits", "wine"):
        assert imported[name] == list(of_task(name))
    assert set(of_task(table)) == set(imported[table]) - {"sklearn.datasets"}


def test_what_is_to_be_fetched_needs_scikit_learn(monkeypatch):
    monkeypatch.delenv("ABLATE_DATA", raising=False)
    monkeypatch.setenv(FETCH, "1")
    assert imports("mnist", Path()) == ("pandas", "sklearn.datasets")
    assert all(isinstance(of_task(name), tuple) for name in CARDS)


def test_of_a_file_the_slow_modules_that_it_imports():
    source = b"import torch, pandas as pd\ndef task():\n    from sklearn.model_selection import a\n    from . import scipy\n"
    assert of_source(source) == ("pandas", "sklearn.model_selection")


def test_of_a_study_file_its_task(tmp_path):
    (tmp_path / "mine.py").write_text("import pandas\nraise SystemExit")
    for name, task in (("a", "wine"), ("b", f"{tmp_path}/mine.py:task"), ("c", f"{tmp_path}/none.py:task")):
        (tmp_path / f"{name}.toml").write_text(f'task = "{task}"')
    assert imports("a", tmp_path) == imports(f"{tmp_path}/a.toml", tmp_path / "no") == of_task("wine")
    assert imports("b", tmp_path) == ("pandas",)
    assert imports("c", tmp_path) == imports("no.toml", tmp_path) == imports("nothing", tmp_path) == ()
    (tmp_path / "d.toml").write_text("no toml")
    (tmp_path / "bad.py").write_text("no python")
    assert imports("d", tmp_path) == imports(f"{tmp_path}/bad.py:task", tmp_path) == ()


@pytest.mark.parametrize("where", [sources.DIGITS, "sklearn/elsewhere.csv.gz"])
def test_digits_are_those_of_scikit_learn(monkeypatch, where):
    monkeypatch.setattr(sources, "DIGITS", where)
    for ours, theirs in zip(sources.digits(), load_digits(return_X_y=True), strict=True):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)
