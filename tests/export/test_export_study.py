"""`ablate export` and `ablate dashboard` on a tiny study that was really run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import optuna
import pytest
from safetensors import safe_open

import ablate
from ablate.api.dashboard import mirrored, serve
from ablate.api.exporting import export_study
from ablate.export.ablation_text import ablation, task_name
from ablate.ledger.store import Ledger
from ablate.records.errors import AblateError, InputError
from ablate.report.collect import collect

TASK = """
import torch
from torch import nn
from ablate.tasks.task import Task

HIDDEN = 8
generator = torch.Generator().manual_seed(1)
x = torch.randn(100, 4, generator=generator)
y = (x[:, 0] + 0.5 * x[:, 1] > 0).long()


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(4, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2))


task = Task(model=Net, train=(x, y), epochs=2, batch_size=16)
"""
STUDY = """task = "own.py:task"
[baseline]
optimizer = { name = "momentum", lr = 0.1 }
[space]
include = ["dropout", "weight_decay", "placebo"]
[search]
trials = 4
[rank]
design = "screening"
waves = 1
[confirm]
seeds = 2
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    (folder / "own.py").write_text(TASK)
    (folder / "small.toml").write_text(STUDY)
    before = Path.cwd()
    os.chdir(folder)
    try:
        ablate.study(
            "small.toml",
            stages=["search", "rank", "confirm", "report"],
            executor="inline",
            device="cpu",
            quiet=True,
        )
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    return folder


def test_the_winner_as_a_script_that_needs_torch_alone(here):
    done = export_study("small.toml")
    assert set(done.files) == {"script", "recipe", "weights", "text"}
    assert done.notes == []
    script = here / "reports/small/export/train.py"
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    code = (
        "import sys, runpy; sys.modules['ablate'] = sys.modules['numpy.core'] = None;"
        f"runpy.run_path({str(script)!r}, run_name='__main__')"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=clean,
        cwd=here.parent,
    )
    assert ran.returncode == 0, ran.stderr
    metrics = json.loads(ran.stdout[ran.stdout.index("{") :])
    with Ledger.open(here / "studies/small.db", write=False) as ledger:
        entry = ledger.get(done.run)
    assert entry is not None
    assert metrics["validation/loss"] == pytest.approx(entry.result.metrics["validation/loss"], rel=1e-4)
    assert metrics["test/accuracy"] == pytest.approx(entry.result.metrics["test/accuracy"], abs=0.051)
    assert f"{entry.result.metrics['validation/loss']:.6g}" in script.read_text()
    with (here / "reports/small/export/recipe.toml").open("rb") as file:
        assert tomllib.load(file) == entry.run.recipe.to_dict()
    with safe_open(here / "reports/small/export/weights.safetensors", "pt") as weights:
        assert {name for name in weights.keys() if name.endswith("weight")}  # noqa: SIM118 - it is no mapping
    restored = ablate.load("reports/small/export/weights.safetensors", task="own.py:task")
    assert restored is not None


def test_a_name_in_a_ledger_loads_no_task_file(here, monkeypatch):
    """`ablate export small` names a ledger; what that one names was not typed."""
    (here / "small.toml").rename(here / "aside.toml")
    monkeypatch.setattr("ablate.study.request.load", lambda name: pytest.fail(f"{name} was loaded"))
    try:
        with pytest.raises(
            InputError, match=r"it is of small\.toml.*; name it: ablate export small\.toml --name small"
        ):
            export_study("small", ["script"])
        assert set(export_study("small", ["recipe"]).files) == {"recipe"}
    finally:
        (here / "aside.toml").rename(here / "small.toml")


def test_the_ablation_as_a_paragraph_and_two_tables(here):
    with Ledger.open(here / "studies/small.db", write=False) as ledger:
        data = collect(ledger)
    text = ablation(data)
    rows = data.ranking[data.ranking["estimand"] == "average"]
    assert len(text.rows) == len(rows[rows["metric"] == data.metric])
    markdown, latex = text.markdown(), text.latex()
    assert markdown.count("\n| ") == len(text.rows) + 1
    assert latex.count(r"\\") == len(text.rows) + 1
    assert "placebo" in markdown
    assert "weight\\_decay" in latex
    assert not re.search(r"(?<!\\)[%_&#](?![^\n]*\\\\)", latex.partition(r"\begin{tabular}")[0])
    assert latex.isascii(), [letter for letter in latex if ord(letter) > 127]
    best = rows.sort_values("effect", ascending=False).iloc[0]
    assert str(best["trick"]) in text.rows[0][0]


def test_before_a_ranking_there_is_no_text(here):
    ablate.study(
        "small.toml", name="searched", stages=["search"], executor="inline", device="cpu", quiet=True
    )
    with pytest.raises(InputError, match="nothing has been ranked"):
        export_study("small.toml", ["text"], name="searched")
    assert not (here / "reports/searched").exists()
    done = export_study("small.toml", ["text", "recipe", "script", "weights"], name="searched")
    assert "text" not in done.files
    assert any("nothing has been ranked" in line for line in done.notes)


def test_a_study_of_objects_is_exported_from_python(here):
    from own import Net, x, y

    study = ablate.study(
        model=Net, data=(x, y), trials=2, stages=["search"], executor="inline", device="cpu", quiet=True, epochs=1, name="objects",
        baseline={"optimizer": {"name": "momentum", "lr": 0.1}}, space={"include": ["dropout", "weight_decay"]},
    )  # fmt: skip
    done = study.export("script", "recipe")
    assert set(done.files) == {"script", "recipe"}
    assert "class Net(nn.Sequential):" in Path(done.files["script"][0]).read_text()
    with pytest.raises(InputError, match="does not hold the task"):
        ablate.load_study("objects").export()


def test_other_bad_input_is_a_line(here):
    with pytest.raises(InputError, match="did you mean 'script'"):
        export_study("small.toml", ["scrip"])
    with pytest.raises(InputError, match="there is no ledger"):
        export_study("own.py:task")


@pytest.mark.parametrize(
    ("then", "now", "what"),
    [
        ("manual_seed(1)", "manual_seed(2)", "the data of"),
        ("nn.ReLU()", "nn.GELU()", "the model, its loss or its metrics"),
    ],
)
def test_a_task_that_has_changed_is_not_exported_as_if_it_were_the_one_that_was_trained(
    here, then, now, what
):
    shutil.rmtree(here / "reports/small/export", ignore_errors=True)
    (here / "own.py").write_text(TASK.replace(then, now))
    try:
        with pytest.raises(InputError, match=f"{what}.* changed since the study was run"):
            export_study("small.toml")
        assert not (here / "reports/small/export").exists()
        assert set(export_study("small.toml", ["recipe", "text"]).files) == {"recipe", "text"}
    finally:
        (here / "own.py").write_text(TASK)


def test_the_dashboard_s_storage_has_the_trials(here):
    path = here / "mirror.sqlite"
    done = [mirrored(here / "studies/small.db", path) for _ in range(2)][-1]
    assert done.trials == 4
    study = optuna.load_study(study_name="small", storage=done.storage)
    with Ledger.open(here / "studies/small.db", write=False) as ledger:
        entries = {entry.trial: entry for entry in ledger.entries("search")}
        metric = ledger.fact("study")["metric"]
    assert study.direction is optuna.study.StudyDirection.MAXIMIZE
    assert study.user_attrs["metric"] == metric
    for trial in study.trials:
        entry = entries[trial.user_attrs["trial"]]
        if trial.state is optuna.trial.TrialState.COMPLETE:
            assert trial.value == entry.result.metrics[metric]
        assert trial.params["dropout"] == ("dropout" in entry.run.recipe)
        if "dropout" in entry.run.recipe:
            assert trial.params["dropout.p"] == entry.run.recipe["dropout"]["p"]
        assert list(trial.intermediate_values.values()) == list(entry.result.curves[metric])


def test_optuna_dashboard_serves_it(here):
    dashboard = pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed")
    done = mirrored(here / "studies/small.db", here / "served.sqlite")
    app = dashboard.wsgi(done.storage)
    said: list[str] = []
    environ = {
        "REQUEST_METHOD": "GET", "PATH_INFO": "/api/studies", "SERVER_NAME": "x", "SERVER_PORT": "1", "SERVER_PROTOCOL": "HTTP/1.1",
        "QUERY_STRING": "", "wsgi.url_scheme": "http", "wsgi.input": None, "wsgi.errors": sys.stderr,
    }  # fmt: skip
    body = b"".join(app(environ, lambda status, headers, *rest: said.append(status)))
    assert said == ["200 OK"]
    assert json.loads(body)["study_summaries"][0]["study_name"] == "small"


def test_the_dashboard_is_served_until_it_ends_and_follows_the_ledger(here, monkeypatch):
    path, follows = here / "followed.sqlite", Event()
    mirrored(here / "studies/small.db", path)
    monkeypatch.setattr("ablate.api.dashboard.EVERY", 0.01)
    monkeypatch.setattr("ablate.api.dashboard.mirrored", lambda *given: follows.set())
    calls: list[tuple[str, str, int]] = []

    def run_server(storage: str, *, host: str, port: int) -> None:
        calls.append((storage, host, port))
        assert follows.wait(300)
        if port == 81:
            raise OSError(98, "Address already in use")

    monkeypatch.setattr(
        "ablate.api.dashboard.dashboard_module", lambda: SimpleNamespace(run_server=run_server)
    )
    serve(here / "studies/small.db", path, "127.0.0.1", 80)
    assert calls == [(f"sqlite:///{path}", "127.0.0.1", 80)]
    with pytest.raises(AblateError) as error:
        serve(here / "studies/small.db", path, "127.0.0.1", 81)
    assert (
        str(error.value) == "127.0.0.1:81 cannot be used (Address already in use); name another with --port"
    )


def test_a_study_without_a_search_has_no_dashboard_and_no_winner(here):
    ablate.study("small.toml", name="bare", stages=["report"], executor="inline", device="cpu", quiet=True)
    with pytest.raises(InputError, match=r"bare\.db has no search; run: ablate study bare --stages search"):
        mirrored(here / "studies/bare.db", here / "bare.sqlite")
    with pytest.raises(InputError, match="there is no best recipe of 'bare' yet; run: ablate study"):
        export_study("small.toml", name="bare")


def test_a_task_that_was_an_object_goes_by_its_own_name():
    named = SimpleNamespace(study={"task": "python:houses"}, name="other")
    assert task_name(named) == "houses"
    assert task_name(SimpleNamespace(study={"task": "my.py:task"}, name="other")) == "my.py:task"
    assert task_name(SimpleNamespace(study={}, name="other")) == "other"


@pytest.mark.parametrize("file", ["train.py", "data.pt", "recipe.toml"])
def test_a_full_disk_leaves_no_part_of_a_file(here, file, monkeypatch):
    from ablate.records import files

    real = files._write_through

    def full(path, parts):
        if file in path.name:
            path.write_bytes(b"the first part")
            raise OSError(28, "No space left on device")
        real(path, parts)

    folder = here / "reports/small/export"
    shutil.rmtree(folder, ignore_errors=True)
    monkeypatch.setattr(files, "_write_through", full)
    with pytest.raises(InputError, match=f"cannot write .*{file}: No space left"):
        export_study("small.toml", ["script", "recipe"])
    assert not [path.name for path in folder.iterdir() if file in path.name]
