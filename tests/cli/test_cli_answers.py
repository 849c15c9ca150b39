"""What commands print: help with examples, one JSON document, tables; and what they leave behind."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import jsonschema
import pytest
from cli_samples import INLINE, STUDY, TASK, ablate

from ablate.cli.commands import COMMANDS

CLAIM = """task = "tiny.py:task"
[claim]
trick = "sgd"
statement = "less memory than Adam"
metric = "memory"
direction = "down"
rates = "given"
[without]
adam = true
[with]
sgd = true
"""
ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "ablate/cli/answers.schema.json").read_text(encoding="utf-8"))
LOUD = "print('hello from the task file')\n" + TASK


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("answers")
    (folder / "tiny.py").write_text(LOUD)
    (folder / "small.toml").write_text(STUDY)
    (folder / "claims").mkdir()
    (folder / "claims" / "memory.toml").write_text(CLAIM)
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for name, lr in (("one", 0.1), ("other", 0.000001)):
        (folder / f"{name}.toml").write_text(f'[optimizer]\nname = "momentum"\nlr = {lr}\n')
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(capsys, command):
    said = ablate(capsys, command, "--help")
    assert said.code == 0
    assert "Example" in said.out
    assert f"ablate {command}" in said.out.partition("Example")[2]
    assert max(map(len, said.out.splitlines())) <= 100


def test_help_and_version(capsys):
    assert ablate(capsys).out == ablate(capsys, "--help").out
    assert all(f"\n  {command} " in ablate(capsys, "-h").out for command in COMMANDS)
    assert ablate(capsys, "--version").out.startswith("ablate 0.")


AFTER_A_STUDY = {"rank", "confirm", "report", "export", "dashboard"}
"""Commands that read what the study has left."""
ANSWERS = {
    "tricks": ("tricks",),
    "trick": ("tricks", "dropout"),
    "tricks of a task": ("tricks", "--task", "tiny.py:task"),
    "tasks": ("tasks",),
    "task": ("tasks", "tiny.py:task"),
    "inspect": ("inspect", "tiny.py:task"),
    "init": ("init", "begun", "--task", "own"),
    "new": ("new", "trick", "begun_trick"),
    "plan": ("plan", "small.toml", *INLINE),
    "train": ("train", "tiny.py:task", "--epochs", "1", "--device", "cpu"),
    "lr-find": ("lr-find", "tiny.py:task", *INLINE),
    "study": ("study", "small.toml", "--stages", "search,rank,confirm,report", *INLINE),
    "rank": ("rank", "small.toml", *INLINE),
    "confirm": ("confirm", "small.toml", *INLINE),
    "compare": ("compare", "one.toml", "other.toml", "--task", "tiny.py:task", *INLINE),
    "claims": ("claims", "memory", "--claims", "claims", *INLINE),
    "report": ("report", "small"),
    "export": ("export", "small.toml"),
    "dashboard": ("dashboard", "small"),
    "doctor": ("doctor",),
}


@pytest.mark.parametrize("words", ANSWERS.values(), ids=ANSWERS)
def test_json_is_all_that_is_printed(capsys, here, words):
    if words[0] in AFTER_A_STUDY and not (here / "studies" / "small.db").exists():
        assert (
            ablate(capsys, *ANSWERS["study"]).code == 0
        )  # the tests of this file may run in several processes
    said = ablate(capsys, *words, "--json")
    assert said.code == 0, said.err
    document = json.loads(said.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert document
    jsonschema.validate(document, {**SCHEMA, "$ref": f"#/$defs/{words[0]}"})
    assert not [line for line in said.err.splitlines() if not line.startswith("hello")]


def test_every_command_has_a_json_answer():
    assert {words[0] for words in ANSWERS.values()} == set(COMMANDS)
    assert set(SCHEMA["$defs"]) >= set(COMMANDS)
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_guide_for_programs_names_every_command_and_points_at_the_schema():
    guide = (ROOT / "AGENTS.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if not re.search(rf"`(ablate )?{name}\b", guide)] == []
    assert "ablate/cli/answers.schema.json" in guide
    for code in ("0", "1", "2", "130, 143"):
        assert f"| {code} |" in guide


def test_the_answer_of_a_study(capsys, here):
    said = ablate(capsys, *ANSWERS["study"], "--json")
    document = json.loads(said.out)
    assert document["report"] == "reports/small/index.html"
    assert document["stages"] == ["search", "rank", "confirm", "report"]
    assert {"trick", "effect", "verdict"} <= set(document["ranking"][0])
    said = ablate(capsys, *ANSWERS["study"])
    assert "report: reports/small/index.html" in said.out
    assert "placebo" in said.out
    assert "search: done" in said.err
    quiet = ablate(capsys, *ANSWERS["study"], "--quiet")
    assert [line for line in quiet.err.splitlines() if "hello" not in line] == []
    assert quiet.out.replace("hello from the task file\n", "") in said.out


def test_a_claim_is_a_line_for_a_person_and_its_tables_are_written_where_they_were_asked_for(capsys, here):
    words = ("claims", "memory", "--claims", "claims", "--quiet", *INLINE)
    said = ablate(capsys, *words, "--csv", "claims.csv", "--page", "claims.md")
    assert said.code == 0, said.err
    (line,) = said.out.splitlines()[-1:]
    assert line.split()[:2] == ["memory", "memory"]
    assert "\nmemory," in (here / "claims.csv").read_text()
    assert "1 claims: " in (here / "claims.md").read_text()
    said = ablate(capsys, *words, "--csv", "nowhere/claims.csv")
    assert (said.code, said.err) == (
        2,
        "ablate: there is no folder nowhere; make it, or name another file\n",
    )


def test_a_report_names_tables_of_another_program(capsys, here):
    if not (here / "studies" / "small.db").exists():
        assert ablate(capsys, *ANSWERS["study"]).code == 0
    shutil.copy(here / "studies" / "small.db", here / "studies" / "shown.db")
    with closing(sqlite3.connect(here / "studies" / "shown.db")) as connection:
        connection.execute("CREATE TABLE trials (x)")
    said = ablate(capsys, "report", "shown")
    assert "studies/shown.db also has tables of another program, which are left alone: trials" in said.err
    assert said.code == 0


def test_only_the_tricks_that_are_asked_for_are_ranked(capsys, here):
    (here / "few.toml").write_text(
        STUDY.replace('design = "screening"\nwaves = 1\n', 'around = "baseline"\n')
    )
    words = ("rank", "few.toml", "--include", "dropout", "--budget", "60runs", *INLINE)
    said = ablate(capsys, *words, "--json")
    assert said.code == 0, said.err
    ranked = {row["trick"] for row in json.loads(said.out)["ranking"]}
    assert "dropout" in ranked
    assert "weight_decay" not in ranked
    said = ablate(capsys, *words, "--exclude", "dropouts")
    assert (said.code, "dropouts" in said.err) == (2, True)


def test_a_gate_that_fails_is_told_and_exits_1(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blind = TASK.replace("nn.Linear(4, 8)", "Blind(), nn.Linear(4, 8)").replace(
        "def model", "class Blind(nn.Module):\n    def forward(self, x):\n        return 0 * x\ndef model"
    )
    (tmp_path / "blind.py").write_text(blind)
    said = ablate(capsys, "lr-find", "blind.py:task", *INLINE)
    assert said.code == 1
    assert "2 over-fit a small sample: fail" in said.out
    step = json.loads(ablate(capsys, "lr-find", "blind.py:task", *INLINE, "--json").out)["steps"][2]
    (finding,) = step["findings"]
    output = " ".join(said.out.split())  # a terminal breaks lines
    assert finding["where"]
    assert f"{finding['message']} ({finding['where']}) → {finding['advice']}" in output
    assert f"over-fit a small sample: fail: {finding['message']} ({finding['where']})" in said.err


def test_doctor_names_folders_that_cannot_be_written(capsys, here):
    said = ablate(capsys, "doctor", "--out", "tiny.py", "--studies", "tiny.py/x", "--json")
    assert said.code == 1
    problems = json.loads(said.out)["problems"]
    assert "the folder tiny.py is a file; name another with --out" in problems
    assert len(problems) == 2


def test_doctor_tells_a_person_what_it_found_and_what_is_wrong(capsys, here, monkeypatch):
    monkeypatch.setenv("ABLATE_DATA", str(here))
    said = ablate(capsys, "doctor")
    assert (said.code, said.out.splitlines()[-1]) == (0, "all is well")
    assert f"ABLATE_DATA: {here}" in said.out.splitlines()
    monkeypatch.setenv("ABLATE_DATA", "nowhere")
    said = ablate(capsys, "doctor")
    assert (said.code, said.out.splitlines()[-1]) == (
        1,
        "problem: ABLATE_DATA names nowhere, which is not a folder",
    )


def test_doctor_says_where_code_is_kept_and_that_no_study_needs_it(capsys, here, monkeypatch):
    monkeypatch.setenv("ABLATE_CACHE", str(here / "kept"))
    assert json.loads(ablate(capsys, "doctor", "--json").out)["cache"] == f"{here / 'kept'} (writable)"
    monkeypatch.setenv("ABLATE_CACHE", str(here / "tiny.py"))
    said = ablate(capsys, "doctor", "--json")
    assert said.code == 0
    assert "NOT writable: every study makes its code and measurements again" in json.loads(said.out)["cache"]


def test_train_resumes_and_keeps_the_weights(capsys, here):
    document = json.loads(ablate(capsys, "train", "tiny.py:task", "--seed", "3", "--json").out)
    assert document["outcome"] == "complete"
    assert (here / document["weights"]).is_file()
    assert list((here / "reports" / "tiny").glob("train-*.pt")) == []
