"""Bad input: exit code 2, one line on standard error that says what to do, nothing on the other, nothing written."""

from __future__ import annotations

import sqlite3

import pytest
from cli_samples import INLINE, STUDY, TASK, ablate, files

FEW = ("--stages", "search", *INLINE)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.py").write_text(TASK)
    (tmp_path / "tiny.toml").write_text(STUDY)
    (tmp_path / "file").write_text("a file, no folder")
    return tmp_path


def refused(capsys, here, *words, hint=""):
    """The one line of a refusal."""
    before = files(here)
    said = ablate(capsys, *words)
    assert said.code == 2, said
    assert said.out == ""
    assert said.err.startswith("ablate: ")
    assert said.err.count("\n") == 1
    assert said.err.endswith("\n")
    assert "Traceback" not in said.err
    assert len(said.err) < 500
    assert files(here) == before
    return said.err


WORDS = {
    "command": (("studdy",), "Did you mean 'study'?"),
    "option": (("study", "--trails", "3"), "did you mean '--trials'?"),
    "option's type": (("study", "--trials", "many"), "--trials"),
    "option's range": (("plan", "--lanes", "-1"), "--lanes"),
    "missing value": (("study", "--trials"), "--trials"),
    "too many words": (("tricks", "dropout", "adam"), "adam"),
    "task": (("lr-find", "digit"), "did you mean 'digits'?"),
    "task's card": (("tasks", "wien"), "did you mean 'wine'?"),
    "trick": (("tricks", "dropuot"), "did you mean 'dropout'?"),
    "seam": (("tricks", "--seam", "modle"), "did you mean 'model'?"),
    "stage": (("study", "tiny.toml", "--stages", "serch"), "did you mean 'search'?"),
    "no stage": (("study", "tiny.toml", "--stages", ","), "unknown stage ''"),
    "endless": (("train", "tiny.py:task", "--epochs", "9" * 20), "--epochs"),
    "no such trick": (("study", "tiny.toml", "--include", "nosuchtrick"), "ablate tricks lists all"),
    "executor": (("study", "tiny.toml", "--executor", "nonsense"), "known: auto, dask, inline, processes, ray"),
    "kernel": (("study", "tiny.toml", "--kernel", "lop"), "did you mean 'loop'?"),
    "memory": (("study", "tiny.toml", "--memory", "-1"), "--memory"),
    "too little memory": (("study", "tiny.toml", "--memory", "1e-6"), "is too little: one run takes about"),
    "executor of plan": (("plan", "tiny.toml", "--executor", "inlin"), "did you mean 'inline'?"),
    "device": (("study", "tiny.toml", "--device", "cdua"), "use auto, cpu, cuda"),
    "absent device": (("study", "tiny.toml", "--device", "cuda:99"), "this machine has: cpu"),
    "device of doctor": (("doctor", "--device", "cuda:99"), "this machine has: cpu"),
    "device of train": (("train", "tiny.py:task", "--device", "cuda:99"), "this machine has: cpu"),
    "margin": (("rank", "tiny.toml", "--margin", "-1"), "must be above zero"),
    "design": (("rank", "tiny.toml", "--design", "factoral"), "did you mean 'factorial'?"),
    "design of plan": (("plan", "tiny.toml", "--design", "drop_one"), "did you mean 'drop-one'?"),
    "factorial of plan": (("plan", "tiny.py:task", "--around", "baseline", "--design", "factorial"), "at most 4 tricks"),
    "rates": (("rank", "tiny.toml", "--design", "screening", "--retune", "4"), "odd number from 3"),
    "waves of a tuned ranking": (("rank", "tiny.py:task", "--waves", "2"), "--waves is for array designs"),
    "rates of a tuned ranking": (("rank", "tiny.py:task", "--retune", "3"), "--retune is for array designs"),
    "budget of an array": (("rank", "tiny.toml", "--design", "add-one", "--budget", "9m"), "for the design 'tuned'"),
    "budget": (("rank", "tiny.py:task", "--budget", "9 moons"), "write minutes or runs"),
    "budget of plan": (("plan", "tiny.py:task", "--budget", "9x"), "write minutes or runs"),
    "budget of study": (("study", "tiny.py:task", "--budget", "-5m"), "write minutes or runs"),
    "budget too small": (("study", "tiny.py:task", "--trials", "3", "--budget", "0.001s"), "too short for a study"),
    "seeds of confirm": (("confirm", "tiny.toml", "--seeds", "1"), "--seeds"),
    "margin of confirm": (("confirm", "tiny.toml", "--margin", "nan"), "must be above zero"),
    "nothing to confirm": (("confirm", "tiny.toml"), "run the stage search"),
    "no search yet": (("rank", "tiny.toml"), "run the stage search"),
    "around": (("rank", "tiny.toml", "--around", "nowhere.toml"), "no recipe file nowhere.toml"),
    "report of nothing": (("report", "tiny"), "run the study first"),
    "report's name": (("report", "../x"), "cannot be a study's name"),
    "learning rate": (("train", "tiny.py:task", "--lr", "nan"), "must be finite"),
    "recipe": (("train", "tiny.py:task", "--recipe", "nowhere.toml"), "no recipe file nowhere.toml"),
    "recipe that is none": (("train", "tiny.py:task", "--recipe", "tiny.py"), "cannot be read"),
    "recipe of a study file": (("train", "tiny.py:task", "--recipe", "tiny.toml"), "tiny.toml"),
    "out under a file": (("study", "tiny.toml", "--out", "file/x"), "name another with --out"),
    "studies under a file": (("study", "tiny.toml", "--studies", "file/x"), "name another with --studies"),
    "studies a file": (("study", "tiny.toml", "--studies", "file"), "is a file"),
    "train's out": (("train", "tiny.py:task", "--out", "file"), "name another with --out"),
    "trick file": (("tricks", "--file", "nowhere.py"), "nowhere.py"),
    "trick file that is none": (("tricks", "--file", "tiny.py"), "TRICK"),
    "study file": (("study", "nowhere.toml"), "no study file nowhere.toml"),
    "no such file": (("study", "nowhere.py:task"), "no file nowhere.py"),
    "no such attribute": (("study", "tiny.py:tsak"), "did you mean 'task'?"),
    "metric": (("study", "tiny.py:task", "--metric", "acuracy"), "did you mean 'accuracy'?"),
    "included trick": (("study", "tiny.py:task", "--include", "dropuot"), "did you mean 'dropout'?"),
    "excluded trick": (("plan", "tiny.py:task", "--exclude", "mixup,dropuot"), "did you mean 'dropout'?"),
    "empty name": (("study", ""), "unknown task ''"),
}  # fmt: skip


@pytest.mark.parametrize(("words", "message"), WORDS.values(), ids=WORDS)
def test_arguments(capsys, here, words, message):
    assert message in refused(capsys, here, *words)


STUDIES = {
    "key": ('epocs = 3\n' + STUDY, "line 1", "did you mean 'epochs'?"),
    "key of a section": (STUDY.replace("trials", "trails"), "line 7", "did you mean 'trials'?"),
    "type": ('epochs = "ten"\n' + STUDY, "line 1", "epochs must be a whole number"),
    "range": (STUDY.replace("trials = 3", "trials = 0"), "line 7", "trials"),
    "choice": (STUDY.replace("trials = 3", 'sampler = "tpee"'), "line 7", "did you mean 'tpe'?"),
    "trick in the space": (STUDY.replace('"dropout"', '"dropuot"'), "line 5", "did you mean 'dropout'?"),
    "seam in the space": (STUDY.replace('"dropout"', '"modle"'), "line 5", "did you mean 'model'?"),
    "parameter": (STUDY + "[space.dropout]\nq = { low = 0.1 }\n", "line 14", "unknown"),
    "empty range": (STUDY + "[space.dropout]\np = { low = 0.6, high = 0.1 }\n", "line 14", "swap them"),
    "optimizer": (STUDY.replace("momentum", "momentun"), "line 3", "did you mean 'momentum'?"),
    "syntax": (STUDY.replace("[search]", "[search"), "line 6", ""),
    "metric": ('metric = "validation/acuracy"\n' + STUDY, "", "did you mean 'accuracy'?"),
    "nothing to search": (STUDY.replace('"dropout", "weight_decay", ', ""), "", "nothing is left to search"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line", "message"), STUDIES.values(), ids=STUDIES)
def test_study_files(capsys, here, text, line, message):
    (here / "tiny.toml").write_text(text)
    err = refused(capsys, here, "study", "tiny.toml", *FEW)
    assert line in err
    assert message in err


RANKINGS = {
    "factorial": ('design = "factorial"', "at most 4 tricks"),
    "must_have of a tuned ranking": (
        'design = "tuned"\nmust_have = ["dropout"]',
        "must_have in [rank] is for array designs",
    ),
    "budget of an array": ('design = "add-one"\nbudget = "5m"', "budget in [rank] is for the design 'tuned'"),
    "budget": ('design = "tuned"\nbudget = "5 moons"', "write minutes or runs"),
    "must_have": (
        'must_have = ["translate"]',
        "'translate', which this study does not have",
    ),
    "levels": (
        'levels = { norm = ["batch_norm", "instance_norm"] }',
        "'instance_norm', which this study",
    ),
    "both": (
        'must_have = ["batch_norm"]\nlevels = { norm = ["none", "layer_norm"] }',
        "name one of the two",
    ),
}


@pytest.mark.parametrize(("asked", "message"), RANKINGS.values(), ids=RANKINGS)
def test_rankings_that_cannot_be_had_leave_nothing_behind(capsys, here, asked, message):
    text = 'task = "tiny.py:task"\n[baseline]\noptimizer = { name = "momentum", lr = 0.1 }\n[rank]\naround = "baseline"\n'
    array = "" if "design" in asked else 'design = "screening"\n'
    (here / "ranking.toml").write_text(text + array + asked)
    assert message in refused(capsys, here, "rank", "ranking.toml", "--device", "cpu")
    assert message in refused(capsys, here, "plan", "ranking.toml", "--device", "cpu")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x00" * 50], ids=["not UTF-8", "nulls"])
def test_a_study_file_that_is_no_text(capsys, here, content):
    (here / "tiny.toml").write_bytes(content)
    assert "tiny.toml" in refused(capsys, here, "study", "tiny.toml", *FEW)


TASKS = {
    "raises": ("raise ValueError('boom\\nbang')\n" + TASK, "broken.py:1: ValueError: boom bang"),
    "syntax": ("def\n" + TASK, "broken.py:1"),
    "exits": ("import sys; sys.exit(0)\n", "SystemExit"),
    "empty": ("", "holds no 'task'"),
    "no task": ("task = 3\n", "is of type int"),
    "output's shape": (TASK.replace("nn.Linear(8, 2)", "nn.Linear(8, 5), nn.Unflatten(1, (5, 1))"), "has shape [8, 5, 1]"),
    "input's width": (TASK.replace("nn.Linear(4, 8)", "nn.Linear(3, 8)"), "forward pass failed"),
    "NaN": (TASK.replace("def model", "x[7, 2] = float('nan')\ndef model"), "NaN in 1 example, first at row"),
    "infinite": (TASK.replace("def model", "x[7, 2] = float('inf')\ndef model"), "infinity"),
    "one class": (TASK.replace("> 0).long()", "> 99).long()"), "one class only"),
    "labels beyond": (TASK.replace("def model", "y[3] = 7\ndef model"), "label 7"),
    "negative labels": (TASK.replace("def model", "y[3] = -1\ndef model"), "-1"),
    "lengths": (TASK.replace("train=(x, y)", "train=(x, y[:50])"), "100 rows and y has 50"),
    "ready model": (TASK.replace("model=model", "model=model()"), "model=lambda: MyNet()"),
    "same model": (TASK.replace("model=model,", "model=lambda m=model(): m,"), "at each call"),
    "criterion": (TASK.replace("epochs=2", "criterion='clasification'"), "did you mean 'classification'?"),
    "no data": (TASK.replace("train=(x, y)", "train=(x[:0], y[:0])"), "empty"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), TASKS.values(), ids=TASKS)
def test_task_files(capsys, here, text, message):
    (here / "broken.py").write_text(text)
    err = refused(capsys, here, "study", "broken.py:task", "--stages", "lr-find", *INLINE)
    assert message in err


@pytest.mark.parametrize("command", ["lr-find", "plan", "train", "tasks"])
def test_every_command_that_takes_a_task_refuses_a_broken_one(capsys, here, command):
    (here / "broken.py").write_text(TASKS["NaN"][0])
    assert "NaN in 1 example" in refused(capsys, here, command, "broken.py:task")


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage" * 100, b"SQLite format 3\0" + bytes(500)],
    ids=["empty", "garbage", "like SQLite"],
)
def test_a_file_that_is_no_ledger(capsys, here, content):
    (here / "studies").mkdir()
    (here / "studies" / "tiny.db").write_bytes(content)
    assert "not an ablate ledger" in refused(capsys, here, "study", "tiny.toml", *FEW)
    assert "not an ablate ledger" in refused(capsys, here, "report", "tiny")


def test_a_ledger_of_another_version_and_of_another_study(capsys, here):
    assert ablate(capsys, "study", "tiny.toml", *FEW).code == 0
    task = 'task = "tiny.py:task"'
    changes = (
        ("lr = 0.1", "lr = 0.2"),
        ('name = "momentum"', 'name = "sgd"'),
        (task, f'{task}\nmetric = "validation/loss"'),
    )
    for before, after in changes:
        (here / "tiny.toml").write_text(STUDY.replace(before, after))
        err = refused(capsys, here, "study", "tiny.toml", *FEW)
        assert "was made from another study: " in err
        assert " was " in err.partition("another study: ")[2]
        assert "another folder with --studies" in err
    (here / "tiny.toml").write_text(STUDY)
    assert "seed was 0 and is now 5" in refused(capsys, here, "study", "tiny.toml", *FEW, "--seed", "5")
    (here / "tiny.toml").write_text(STUDY.replace("waves = 1", "waves = 2"))
    assert ablate(capsys, "study", "tiny.toml", *FEW).code == 0  # a ranking may be declared anew
    (here / "tiny.toml").write_text(STUDY)
    with sqlite3.connect(here / "studies" / "tiny.db") as ledger:
        ledger.execute("PRAGMA user_version = 99")
    ledger.close()
    assert "upgrade ablate" in refused(capsys, here, "study", "tiny.toml", *FEW)


def test_debug_shows_the_traceback_and_keeps_the_exit_code(capsys, here):
    said = ablate(capsys, "--debug", "study", "nope")
    assert said.code == 2
    assert said.err.startswith("Traceback")
    assert "InputError" in said.err


EXITS = TASK.replace("def model():", "def model():\n    import sys\n\n    sys.exit(0)\n")


def test_a_model_that_exits_is_an_error_of_the_users_code(capsys, here):
    assert "sys.exit(0)" in EXITS
    (here / "tiny.py").write_text(EXITS)
    line = 1 + EXITS[: EXITS.index("sys.exit(0)")].count("\n")
    said = ablate(capsys, "train", "tiny.py:task", "--lr", "0.1")
    assert said.code == 2
    assert said.out == ""
    assert f"tiny.py:{line}" in said.err
