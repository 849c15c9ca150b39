"""Promises of docs/reliability.md at a fraction of the counts of `make chaos`."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from itertools import islice
from math import inf
from pathlib import Path

import pytest

from bench.chaos import count, damage, load, parsers, pauses, promise, signals
from bench.chaos.__main__ import line_of, reasons
from bench.chaos.moments import SENT
from bench.chaos.promise import Check, Tally


@pytest.mark.parametrize(
    ("check", "count", "least"), [(damage.check, 1000, 2000), (parsers.check, 200, 1500)]
)
def test_a_fraction_of_the_checks(check: Check, count: int, least: int, tmp_path: Path):
    tally = Tally()
    check(tmp_path, count, 1, tally)
    assert tally.failed == []
    assert tally.count >= least


def test_five_stopped_workers_do_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pauses, "LONGEST", 2.0)
    tally = Tally()
    pauses.check(tmp_path, 5, 1, tally)
    assert (tally.count, tally.failed) == (5, [])


def test_a_promise_that_is_out_of_time_makes_no_further_check(tmp_path: Path):
    tally = Tally(ends=-inf)
    damage.check(tmp_path, 1000, 1, tally)
    parsers.check(tmp_path, 1000, 1, tally)
    assert tally.count == 0


def test_what_fails_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fails(path: Path) -> None:
        raise KeyError(path.name)

    monkeypatch.setattr(parsers, "parsers", lambda: {"study file": (b"x = 1", fails)})
    tally = Tally(ends=time.monotonic() + 600)
    parsers.check(tmp_path, 10, 0, tally)
    assert len(tally.failed) == tally.count >= 5


class Done:
    """A command that has ended."""

    def __init__(self, returncode: int, stderr: str = "", stdout: str = "") -> None:
        self.returncode, self.stderr, self.stdout = returncode, stderr, stdout


KEPT = f"ablate: terminated; {signals.KEPT}\n"
SENDING = {"wall": 3.0, "processor": 3.0, "finished": []}
ANSWERS = {
    "not sent": (Done(0, "done\n"), None, None),
    "not sent, yet it ended with a line": (Done(143, KEPT), None, "without a signal"),
    "not sent, yet it failed": (Done(1, "ablate: no\n"), None, "without a signal"),
    "answered": (Done(143, KEPT), SENDING, ""),
    "sent and lost": (Done(0, "done\n"), SENDING, "exit 0"),
    "another code": (Done(130, KEPT), SENDING, "exit 130"),
    "a traceback": (Done(143, KEPT + "Traceback\n"), SENDING, "Traceback"),
    "late": (Done(143, KEPT), SENDING | {"ago": 11.0}, "11 s until the end, 10 are allowed"),
    "late on a busy machine": (Done(143, KEPT), SENDING | {"ago": 11.0, "wall": 6.0}, ""),
    "far too late": (Done(143, KEPT), SENDING | {"ago": 101.0, "wall": 600.0}, "100 are allowed"),
    "a run is lost": (Done(143, KEPT), SENDING | {"finished": ["a"]}, "1 finished runs are lost"),
}


@pytest.mark.parametrize(("done", "mark", "expected"), ANSWERS.values(), ids=ANSWERS)
def test_only_a_signal_that_was_sent_and_answered_is_kept(
    done: Done,
    mark: dict[str, float] | None,
    expected: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    def run(*args: object, **more: object) -> Done:
        if mark is not None:
            (tmp_path / SENT).write_text(json.dumps({**mark, "at": time.time() - mark.get("ago", 0.0)}))
        return done

    monkeypatch.setattr(subprocess, "run", run)
    complaint = signals.seen(tmp_path, signal.SIGTERM, 1, "call:5000", ["rank"])
    assert complaint == expected if not expected else expected in (complaint or "")


def test_signals_are_drawn_within_the_commands_moments_and_counted_if_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ranges = {name: {"import": 50, "call": 10 * (number + 1)} for number, name in enumerate(signals.COMMANDS)}
    drawn = list(islice(signals.moments(random.Random(0), ranges), 200))
    kinds = {(name, moment.partition(":")[0]) for name, moment in drawn}
    assert len(kinds) == 4 * len(signals.COMMANDS)
    for name, moment in drawn:
        kind, _, number = moment.partition(":")
        assert not number or 1 <= int(number) <= ranges[name][kind]
    monkeypatch.setattr(signals, "begun", lambda folder: folder.mkdir(parents=True))
    monkeypatch.setattr(signals, "ranges_in", lambda folder: ranges)
    sent = iter(["", None, "", None, "wrong", *[None] * 100])
    monkeypatch.setattr(signals, "seen", lambda *args: next(sent))
    tally = Tally()
    signals.check(tmp_path, 3, 0, tally)
    assert (tally.count, tally.failed) == (3, ["wrong"])
    tally = Tally()
    signals.check(tmp_path / "more", 3, 0, tally)
    assert tally.failed == ["only 0 of 3 signals were sent"]


def test_load_is_within_its_limits_and_what_exceeds_them_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tally = Tally()
    load.check(tmp_path, 3000, 0, tally)
    assert (tally.count, tally.failed) == (4, [])
    (tmp_path / "again").mkdir()
    monkeypatch.setattr(load, "REPORT", load.Limits(10, page=0.001))
    monkeypatch.setattr(load, "RESUMED", load.Limits(3, memory=0.001))
    monkeypatch.setattr(load, "TABLE", load.Limits(0.001))
    exceeding = Tally()
    load.check(tmp_path / "again", 50, 0, exceeding)
    assert [line.partition(":")[0] for line in exceeding.failed] == [
        "report of 50 runs", "report of 50 trials", "resuming 50 runs", "ranking a table of 100 rows",
    ]  # fmt: skip


def test_runs_of_a_driver_that_gave_up_may_be_replaced_and_must_be_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    before: list[count.Row] = [("a", "complete", 1.0), ("b", "interrupted", 0.0)]

    def counted(*now: count.Row, ended: bool = True) -> count.Count:
        monkeypatch.setattr(count, "rows", lambda ledger: list(now))
        seen = count.Count()
        seen.check(tmp_path, before, {"a"}, ended=ended)
        return seen

    finished = ("b", "complete", 2.0)
    assert counted(before[0], finished).clean
    assert counted(*before, ended=False).clean
    assert counted(*before).running == 1
    assert counted(before[0], ("b", "running", 0.0), ended=False).running == 1
    assert counted(("a", "complete", 2.0), finished).changed == 1
    assert counted(before[0]).lost == 1
    assert counted(*before[:1], finished, finished).duplicated == 1


def test_skipped_checks_are_told_and_nothing_but_skips_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    skips = "SKIPPED [2] tests/test_a.py:5: no browser\n"
    answers = {"PASSED tests/test_a.py::test_b\n" + skips: 0, skips: 1, "": 1}
    for output, failed in answers.items():
        monkeypatch.setattr(subprocess, "run", lambda *args, output=output, **more: Done(0, stdout=output))
        tally = Tally()
        promise.tests("a.py")(tmp_path, 1, 0, tally)
        assert (tally.count, len(tally.failed)) == (1, failed)
        assert len(tally.skipped) == 2 * bool(output)
        assert reasons(tally) == (["skipped 2 x tests/test_a.py:5: no browser"] if output else [])
        assert line_of("S3", "text", tally, 1.0).split()[2:] == [
            "1",
            str(failed),
            str(len(tally.skipped)),
            "1",
        ]
