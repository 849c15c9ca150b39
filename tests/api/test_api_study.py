"""`import ablate`: a study of a model and data that are objects, its results, and what is refused."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

import ablate
from ablate.executors.shared_task import SharedTask

SETTINGS = {
    "baseline": {"optimizer": {"name": "momentum", "lr": 0.1}},
    "space": {"include": ["dropout", "weight_decay", "placebo"]},
    "search": {"pruner": "none"},
    "rank": {"design": "screening", "waves": 1},
    "epochs": 2,
    "device": "cpu",
    "quiet": True,
}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(x)))


def pairs(seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(100, 4, generator=torch.Generator().manual_seed(seed))
    return x, (x[:, 0] + 0.5 * x[:, 1] > 0).long()


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return ablate.study(
        model=Net, data=pairs(), trials=4, stages=["search", "rank", "report"], executor="inline",
        studies=folder / "studies", out=folder / "reports", **SETTINGS,
    )  # fmt: skip


def test_a_study_has_tables_recipes_and_a_report(done):
    assert isinstance(done, ablate.Study)
    assert done.name == "Net"
    assert len(done.trials) == 4
    assert set(done.trials["outcome"]) == {"complete"}
    ranked = done.ranking[done.ranking["estimand"] == "average"]
    assert {"dropout", "weight_decay", "placebo"} == set(ranked["trick"])
    assert isinstance(done.best, ablate.Recipe)
    assert done.best in [done.recommended, *done.runs["recipe"]] or done.best.hash in set(done.runs["recipe"])
    assert done.report().read_text(encoding="utf-8").startswith("<!doctype html>")


def test_representations_name_the_study_and_its_tricks(done):
    assert repr(done).startswith("Study 'Net'")
    assert "weight_decay" in repr(done)
    assert "weight_decay" in done._repr_html_()
    assert "<script" not in done._repr_html_()


def test_the_ranking_is_drawn_on_axes_that_are_given(done):
    from matplotlib.figure import Figure

    ax = Figure().add_subplot()
    assert done.plot_ranking(ax) is ax
    drawn = [label.get_text() for label in ax.get_yticklabels()]
    assert sorted(drawn) == ["dropout", "placebo", "weight_decay"]
    with pytest.raises(ablate.InputError, match="estimand"):
        done.plot_ranking(ax, "averge")


def test_the_search_and_learning_curves_are_drawn_on_axes(done):
    from matplotlib.figure import Figure

    ax = Figure().add_subplot()
    assert done.plot_search(ax) is ax
    dots = max((line.get_xdata() for line in ax.lines), key=len)
    assert sorted(dots) == [0, 1, 2, 3], "a dot for every trial"
    ax = Figure().add_subplot()
    assert done.plot_curves(ax, "train/loss") is ax
    curve = next(one["values"] for one in done.data.curves if one["metric"] == "train/loss")
    assert list(ax.lines[0].get_ydata()) == curve
    with pytest.raises(ablate.InputError, match="unknown curve 'train/los'; did you mean"):
        done.plot_curves(ax, "train/los")
    with pytest.raises(
        ablate.InputError, match="step 4 of lr-find has nothing to draw; run the stage lr-find"
    ):
        done.plot_lr_find(ax)


def test_steps_of_lr_find_are_drawn_on_axes():
    from matplotlib.figure import Figure

    cells = [
        {
            "learning_rate": rate,
            "weight_decay": 0.0,
            "validation/loss": loss,
            "outcome": "complete",
            "seeds": 1,
        }
        for rate, loss in ((0.01, 1.0), (0.03, 0.5), (0.1, 0.7))
    ]
    step = {
        "step": 4,
        "name": "a grid of learning rates",
        "verdict": "pass",
        "figures": {"cells": cells},
        "findings": [],
    }
    answer = ablate.LearningRate(0.03, 0.0, True, {"steps": [{**step, "step": 0, "figures": {}}, step]})
    ax = Figure().add_subplot()
    assert answer.plot_lr_find(ax) is ax
    assert ax.get_xscale() == "log"
    assert ax.lines or ax.collections
    with pytest.raises(ablate.InputError, match="step 0 of lr-find has nothing to draw; steps that have: 4"):
        answer.plot_lr_find(ax, step=0)


def test_called_again_it_trains_nothing_and_a_loaded_study_is_the_same(done, tmp_path):
    again = ablate.study(
        model=Net, data=pairs(), trials=4, stages=["search", "rank"], executor="inline",
        studies=done.options.studies, **SETTINGS,
    )  # fmt: skip
    assert list(again.runs["run"]) == list(done.runs["run"])
    loaded = ablate.load_study("Net", studies=done.options.studies, out=tmp_path)
    pd.testing.assert_frame_equal(loaded.ranking, done.ranking)
    assert loaded.report() == tmp_path / "Net" / "index.html"
    with pytest.raises(ablate.InputError, match="does not hold the task"):
        ablate.rank(loaded)


def test_other_data_under_the_same_name_are_refused(done):
    with pytest.raises(ablate.InputError, match="the data of 'Net' changed"):
        ablate.study(
            model=Net, data=pairs(2), trials=4, stages=["search"], executor="inline",
            studies=done.options.studies, **SETTINGS,
        )  # fmt: skip


def test_a_command_says_that_it_cannot_load_a_task_that_was_an_object(done):
    with pytest.raises(ablate.InputError, match="call the same function there again"):
        ablate.rank("Net", studies=done.options.studies)


def test_train_takes_the_recipe_of_a_study_and_gives_the_model(done):
    trained = ablate.train(done, quiet=True)
    assert trained.run.recipe == done.recommended
    x, y = (getattr(done.opened.task.validation, part) for part in "xy")
    right = (trained.model(x).argmax(1) == y).float().mean().item()
    assert right == pytest.approx(trained.metrics["validation/accuracy"])
    assert list(trained.curves.index) == [1, 2]


def test_a_trained_run_is_told_by_its_metrics(done):
    trained = ablate.train(done, quiet=True)
    accuracy = trained.metrics["validation/accuracy"]
    assert repr(trained).startswith("Trained(")
    assert f"validation/accuracy {accuracy:.4f}" in repr(trained)
    assert repr(trained).endswith(f"; weights: {trained.weights})")


def test_confirm_trains_the_seeds_that_are_asked_for_around_the_recipe_that_is_named(tmp_path):
    place = {"studies": tmp_path / "s", "out": tmp_path / "r", "executor": "inline"}
    study = ablate.study(model=Net, data=pairs(), trials=3, stages=["search"], **place, **SETTINGS)
    confirmed = ablate.confirm(study, seeds=3, around="baseline", quiet=True)
    runs = confirmed.data.stage("confirm")
    assert confirmed.stages == ("confirm", "report")
    assert runs["seed"].nunique() == 3
    assert set(runs["recipe"]) == {confirmed.runs.loc[confirmed.runs["trial"] == 0, "recipe"].item()}


def test_a_study_without_a_stage_says_which_one_is_missing(tmp_path):
    study = ablate.study(
        model=Net, data=pairs(), stages=["report"], executor="inline", studies=tmp_path / "s", out=tmp_path / "r",
        **SETTINGS,
    )  # fmt: skip
    for draw, message in (
        (study.plot_ranking, "nothing is ranked yet; run the stage rank"),
        (study.plot_search, "nothing was searched yet; run the stage search"),
        (study.plot_curves, "there are no learning curves yet; run the stage search or confirm"),
        (lambda: ablate.train(study), "the study 'Net' has no recipe yet; run the stage search"),
    ):
        with pytest.raises(ablate.InputError) as error:
            draw()
        assert str(error.value) == message


def test_train_takes_the_path_of_a_recipe_and_no_rate_beside_it(tmp_path):
    (tmp_path / "slow.toml").write_text('[optimizer]\nname = "momentum"\nlr = 0.001\n')
    task = ablate.Task(Net, train=pairs(), name="pairs", epochs=1)
    trained = ablate.train(task, tmp_path / "slow.toml", quiet=True, out=tmp_path)
    assert trained.run.recipe["momentum"]["lr"] == 0.001
    with pytest.raises(
        ablate.InputError, match="lr is for a run without a recipe; set the rate in the recipe"
    ):
        ablate.train(task, {"momentum": {}}, lr=0.1, out=tmp_path)
    with pytest.raises(
        ablate.InputError, match="a recipe cannot be a int; give a dict, a Recipe, a path or a Study"
    ):
        ablate.train(task, 3, out=tmp_path)


def test_compare_takes_recipes_as_dictionaries(tmp_path):
    task = ablate.Task(Net, train=pairs(), name="pairs")
    comparison = ablate.compare(
        {"momentum": {"lr": 0.1}}, {"momentum": {"lr": 1e-6}}, task, epochs=3, margin=0.02, executor="inline",
        device="cpu", studies=tmp_path, quiet=True,
    )  # fmt: skip
    assert comparison.effect > 0
    with pytest.raises(ablate.InputError, match="the same"):
        ablate.compare({"momentum": {}}, {"momentum": {}}, task)


def test_lr_find_gives_a_rate_or_says_that_a_step_failed(tmp_path):
    answer = ablate.lr_find(
        model=Net, data=pairs(), epochs=2, executor="inline", device="cpu", studies=tmp_path / "s",
        out=tmp_path / "r", force=True, quiet=True,
    )  # fmt: skip
    assert len(answer.steps) == 7  # the look at the data, and six steps
    assert answer.learning_rate is None or 1e-6 < answer.learning_rate < 10
    assert answer.passed == ("fail" not in set(answer.steps["verdict"]))
    lines = repr(answer).splitlines()
    assert lines[0].startswith("learning rate ")
    assert [line.split()[0] for line in lines[1:]] == [str(i) for i in range(7)]
    assert lines[0].split(",")[0] in answer._repr_html_()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task": 3}, "a task cannot be a int"),
        ({"model": Net}, "model and data go together"),
        ({"task": "digits", "model": Net, "data": 1}, "without a task"),
        ({"task": "digitz"}, "digits"),
        ({"task": "digits", "trails": 3}, "unknown argument 'trails'"),
        (
            {"model": Net, "data": 1, "loss": len},
            r"unknown argument 'loss': it is one of a task's; give task=ablate.Task\(model=…, train=…, loss=…\)",
        ),
        ({"task": "digits", "space": {"dropuot": {}}}, "dropout"),
        ({"task": "digits", "include": ["mixupp"]}, "mixup"),
        ({"task": "digits", "include": 3}, "include must be a list of names of tricks"),
        ({"task": "digits", "metric": "f2"}, "f2"),
        ({"task": "digits", "metric": "test/f1"}, "validation/f1"),
        ({"task": "digits", "epochs": 0}, "epochs must be a whole number"),
        (
            {"task": "digits", "search": {"trials": {1}}},
            "search: TOML has no set; use numbers, text, lists and dicts",
        ),
        ({"task": "digits", "stages": ["serach"]}, "search"),
        ({"model": Net(), "data": (1, 2)}, "model must be a function that makes a module"),
        ({"model": Net, "data": {"train": (1, 2), "valid": 3}}, "no split 'valid'"),
    ],
)
def test_bad_input_is_an_exception_of_one_line(tmp_path, given, message):
    with pytest.raises(ablate.InputError, match=message) as error:
        ablate.study(**given, studies=tmp_path / "none")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "none").exists()


def test_a_metric_and_tricks_are_named_as_on_the_command_line(tmp_path):
    study = ablate.study(
        model=Net, data=pairs(), epochs=2, trials=3, stages=["search"], metric="f1", include="weight_decay, dropout",
        exclude=["dropout"], search={"pruner": "median"}, baseline={"momentum": {"lr": 0.1}}, executor="inline",
        device="cpu", studies=tmp_path / "s", out=tmp_path / "r", quiet=True, name="named",
    )  # fmt: skip
    assert study.trials["validation/f1"].notna().any()
    tricks = {name.split(".")[0] for name in study.trials.columns if "." in name}
    assert tricks & {"weight_decay", "dropout"} == {"weight_decay"}


def test_floating_point_targets_mean_regression():
    from ablate.api.open_task import task_from

    x, y = pairs()
    one = lambda: nn.Linear(4, 1)  # noqa: E731
    assert task_from(one, (x, y.float())).criterion == "regression"
    assert task_from(Net, {"train": (x.numpy(), y.numpy())}).criterion == "classification"


def test_a_task_that_cannot_be_pickled_is_refused_or_trained_here(tmp_path, capsys):
    lock = threading.Lock()

    def model() -> nn.Module:
        with lock:
            return Net()

    given = {
        "model": model,
        "data": pairs(),
        "trials": 2,
        "stages": ["search"],
        "studies": tmp_path,
        **SETTINGS,
    }
    with pytest.raises(ablate.InputError, match="cannot be sent to worker processes"):
        ablate.study(**given, executor="processes", workers=2)
    outcome = ablate.study(**{**given, "quiet": False}, workers=2)
    assert len(outcome.trials) == 2
    assert "cannot be sent to worker processes" in capsys.readouterr().err


SCRIPT = """
import torch
from torch import nn
import ablate

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 2)
    def forward(self, x):
        return self.inner(x)

print("begun")
x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
study = ablate.study(
    model=lambda: Net(), data=(x, (x[:, 0] > 0).long()), trials=3, epochs=2, stages=["search"], device="cpu",
    workers=2, executor="processes", baseline={"optimizer": {"name": "momentum", "lr": 0.1}},
    space={"include": ["weight_decay"]},
)
assert set(study.trials["outcome"]) <= {"complete", "pruned"}, study.trials
"""


@pytest.mark.slow
def test_a_model_of_a_script_reaches_worker_processes_and_the_script_runs_once(tmp_path):
    """The script has no `if __name__ == "__main__"`: workers that imported it would begin it again."""
    (tmp_path / "script.py").write_text(SCRIPT)
    root = Path(ablate.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "begun\n"


def test_a_task_of_a_task_file_is_pickled_by_value(tmp_path):
    """No other process can import the module that `tasks.load` made of the file."""
    from ablate.tasks.load import load

    (tmp_path / "mine.py").write_text(
        "import torch, ablate\nfrom torch import nn\nclass Mine(nn.Linear): pass\n"
        "x = torch.randn(50, 4)\ntask = ablate.Task(lambda: Mine(4, 2), train=(x, (x[:, 0] > 0).long()))\n"
    )
    task = load(f"{tmp_path}/mine.py:task")
    shared = SharedTask.of(task, pickled=True)
    probe = (
        "import pickle, sys\nshared = pickle.load(open(sys.argv[1], 'rb'))\n"
        "assert type(shared.task.model()).__name__ == 'Mine'\n"
    )
    (tmp_path / "task.pickle").write_bytes(pickle.dumps(shared))
    done = subprocess.run(
        [sys.executable, "-c", probe, str(tmp_path / "task.pickle")], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(ablate.__file__).parents[1])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_tricks_of_the_users_own_are_paths_or_classes(tmp_path):
    from ablate.api.trick_template import trick_files

    (tmp_path / "halved.py").write_text(trick_files("halved")["halved.py"])
    outcome = ablate.study(
        model=Net, data=pairs(), trials=8, stages=["search"], executor="inline", studies=tmp_path,
        tricks=[tmp_path / "halved.py", torch.optim.NAdam],
        **{**SETTINGS, "space": {"include": ["halved", "optimizer"]}},
    )  # fmt: skip
    assert outcome.trials["halved.on"].any()
    assert outcome.opened.study.tricks == (str(tmp_path / "halved.py"), "torch.optim.nadam.NAdam")
    run = ablate.train(outcome, {"torch_nadam": {"lr": 0.01}, "halved": {}}, quiet=True, out=tmp_path)
    assert run.metrics["validation/accuracy"] > 0
    with pytest.raises(ablate.InputError, match="a trick cannot be a int"):
        ablate.study(model=Net, data=pairs(), tricks=[3])


X, Y = torch.zeros(20, 4), torch.arange(20) % 2
ASKED = {
    "budget as a number": (lambda: ablate.study("digits", budget=5), 'budget must be text, not 5; write "10m"'),
    "budget of rank": (lambda: ablate.rank("digits", budget=300), 'or "2000runs"'),
    "budget of lr_find": (lambda: ablate.lr_find("digits", budget=300), "budget must be text, not 300"),
    "budget of a module": (lambda: ablate.lr_find(nn.Linear(4, 2), (X, Y), (X, Y), budget="2m"), "budget is a number of seconds"),
    "trials": (lambda: ablate.study("digits", trials="100"), "trials must be a whole number of at least 1, not '100'"),
    "lanes": (lambda: ablate.study("digits", lanes=-1), "lanes must be a whole number of at least 0"),
    "memory": (lambda: ablate.study("digits", memory="2"), "memory must be a number at least zero"),
    "margin": (lambda: ablate.rank("digits", margin=-1), "margin must be a number above zero, not -1"),
    "margin of compare": (lambda: ablate.compare({}, {}, "digits", margin="3"), "margin must be a number"),
    "seeds": (lambda: ablate.confirm("digits", seeds=1), "seeds must be a whole number of at least 2"),
    "out": (lambda: ablate.study("digits", out=3), "out must be the path of a folder"),
    "tricks": (lambda: ablate.study("digits", tricks=3), "a trick cannot be a int"),
    "resume_from": (lambda: ablate.study("digits", resume_from=3), "resume_from cannot be 3"),
    "latent": (lambda: ablate.gan_task(Net, Net, X, latent="3"), "latent must be a whole number"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "message"), ASKED.values(), ids=ASKED)
def test_a_value_of_a_wrong_type_is_told_at_once(tmp_path, monkeypatch, call, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ablate.InputError) as error:
        call()
    assert message in str(error.value)
    assert not list(tmp_path.iterdir())


MEANT = {
    "study": (lambda: ablate.study("digits", buget="5m"), "buget", "budget"),
    "a shared one": (lambda: ablate.study("digits", exlude="mixup"), "exlude", "exclude"),
    "rank": (lambda: ablate.rank("digits", arond="best"), "arond", "around"),
    "confirm": (lambda: ablate.confirm("digits", sedes=3), "sedes", "seeds"),
    "compare": (lambda: ablate.compare({}, {}, "digits", margn=1), "margn", "margin"),
    "lr_find": (lambda: ablate.lr_find("digits", forc=True), "forc", "force"),
    "lr_find of a module": (lambda: ablate.lr_find(nn.Linear(4, 2), (X, Y), (X, Y), optimiser=1), "optimiser", "optimizer"),
    "train": (lambda: ablate.train("digits", recip={}), "recip", "recipe"),
    "load_study": (lambda: ablate.load_study("digits", studes="x"), "studes", "studies"),
    "load": (lambda: ablate.load("x.pt", tsak=1), "tsak", "task"),
    "Task": (lambda: ablate.Task(Net, (X, Y), batchsize=32), "batchsize", "batch_size"),
    "but": (lambda: ablate.Task(Net, (X, Y)).but(epcohs=2), "epcohs", "epochs"),
    "from_table": (lambda: ablate.Task.from_table(pd.DataFrame(), "y", emebd=True), "emebd", "embed"),
    "from_table of Task": (lambda: ablate.Task.from_table(pd.DataFrame(), "y", epocs=3), "epocs", "epochs"),
    "gan_task": (lambda: ablate.gan_task(Net, Net, X, latnet=3), "latnet", "latent"),
    "gan_task of Task": (lambda: ablate.gan_task(Net, Net, X, latent=3, validaton=X), "validaton", "validation"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "word", "meant"), MEANT.values(), ids=MEANT)
def test_every_argument_of_a_function_is_suggested(call, word, meant):
    with pytest.raises(ablate.InputError) as error:
        call()
    assert str(error.value) == f"unknown argument '{word}'; did you mean '{meant}'?"


def test_none_means_the_default_and_stages_are_listed_as_on_the_command_line(tmp_path):
    place = {"studies": tmp_path / "s", "out": tmp_path / "r"}
    for device in (torch.device("cpu"), None):
        study = ablate.study(
            model=Net, data=pairs(), budget=None, device=device, stages="report, report", **place, quiet=True
        )
        assert study.stages == ("report",)
        assert study.options is not None
        assert study.options.device in ("cpu", "auto")
