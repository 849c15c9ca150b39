"""Mutation test of the catalogue: a sign, a constant, a comparison or an axis of a trick's mathematics is changed, and its tests must fail.

    python -m bench.mutate                              # every trick, at most 20 mutants each
    python -m bench.mutate spectral_norm --most 100
    python -m bench.mutate --cpu-minutes 8              # a slice: the next call goes on where this one stopped

Every mutant runs in a forked process, in which its code stands in the functions of the trick's module (`bench/transplant.py`): torch, the tests and the
small tasks are loaded once for all. The trick's own reference test (`tests/catalogue/test_NAME.py`) runs first, the quickest of its tests before the others, then,
unless told otherwise, the trick's part of the conformance suite; the first failure ends it. Records (`TRICK`), docstrings, annotations and messages of
errors are not mutated. `bench/results/mutants.csv` has a line a mutant; lines whose trick and reference test are unchanged are not made again.
Survivors that compute the same are in `bench/equivalent_mutants.csv`, each with the reason.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import pytest
import torch

from ablate.catalogue.registry import registry
from ablate.testing import check_trick
from bench.mutants import Mutant, mutants
from bench.transplant import transplant

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests/catalogue"
RESULTS = ROOT / "bench/results/mutants.csv"
EQUIVALENT = ROOT / "bench/equivalent_mutants.csv"
CONFORMANCE = (
    "neutral_is_baseline",
    "default_acts",
    "model_is_left_alone",
    "resume_is_exact",
    "lanes_equal_alone",
)
"""Checks of the suite that train, the quickest first."""
HANG = "does not end"


@dataclass(frozen=True, slots=True)
class Row:
    """One mutant tried. `noticed_by`: the test that failed, empty where none did. `of`: hash of the trick's file and its test."""

    trick: str
    line: int
    change: str
    code: str
    noticed_by: str
    of: str


@dataclass(frozen=True, slots=True)
class Run:
    """What became of the tests of one mutant: the test that failed (or ""), CPU seconds by test and of the whole process."""

    failed: str
    seconds: dict[str, float]
    cpu_s: float


class Watch:
    """A pytest plugin that notes which test failed."""

    def __init__(self) -> None:
        self.failed = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid


def run_tests(name: str, source: str, items: Sequence[pytest.Item], watch: Watch, limit_s: float) -> Run:
    """Run `items` in order until one fails, in a process of its own, with `source` as the code of the trick's module."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        signal.setitimer(signal.ITIMER_PROF, limit_s)  # its signal ends the process
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        with suppress(BaseException):  # whatever a mutant raises, it has been noticed: nothing is written
            answer = json.dumps(_outcome(name, source, items, watch))
            os.write(write, answer.encode())
        os._exit(0)
    os.close(write)
    with open(read, encoding="utf-8") as file:
        text = file.read()
    _, status, usage = os.wait4(child, 0)
    cpu_s = usage.ru_utime + usage.ru_stime
    if os.WIFSIGNALED(status):
        return Run(HANG, {}, cpu_s)
    return Run(**json.loads(text), cpu_s=cpu_s) if text else Run("the import", {}, cpu_s)


def _outcome(name: str, source: str, items: Sequence[pytest.Item], watch: Watch) -> dict[str, object]:
    transplant(registry().find(name).load(), source)
    seconds = {}
    for item, following in zip(items, [*items[1:], None], strict=True):
        started = time.process_time()
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        seconds[item.nodeid] = time.process_time() - started
        if watch.failed:
            break
    return {"failed": watch.failed, "seconds": seconds}


def chosen(every: Sequence[Mutant], most: int) -> list[Mutant]:
    """At most `most` of them, evenly spread over the file."""
    return [every[i * len(every) // most] for i in range(most)] if len(every) > most else list(every)


class Loop:
    """A pytest plugin that runs the mutants of `names` in place of the tests once."""

    def __init__(self, names: Sequence[str], given: argparse.Namespace) -> None:
        self.names, self.given, self.watch = names, given, Watch()
        self.rows = read_rows(given.results)
        self.cpu_s = 0.0

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        session.config.pluginmanager.register(self.watch)
        session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # one folder for all processes
        if not self.given.reference_only:
            check_trick("placebo")  # loads the small tasks and kernels for all processes
        for name in self.names:
            if self.cpu_s / 60 > self.given.cpu_minutes:
                print(f"stopped before {name}; the next call goes on", flush=True)
                break
            self.try_trick(name, list(items_of(name, session.items)))
        return True

    def try_trick(self, name: str, items: list[pytest.Item]) -> None:
        path, of = registry().find(name).path, fingerprint(name)
        tried = chosen(mutants(path), self.given.most)
        done = {(row.line, row.change, row.code) for row in self.rows if (row.trick, row.of) == (name, of)}
        left = [one for one in tried if (one.line, one.change, one.code) not in done]
        self.rows = [row for row in self.rows if row.trick != name or row.of == of]
        if not left:
            return
        plain = run_tests(name, path.read_text(encoding="utf-8"), items, self.watch, limit_s=300)
        if plain.failed:
            raise pytest.UsageError(f"the tests of {name} fail or hang without any change: {plain.failed}")
        items.sort(key=lambda item: (item.path.name == "test_conformance.py", plain.seconds[item.nodeid]))
        started = self.cpu_s
        for one in left:
            outcome = run_tests(name, one.source, items, self.watch, limit_s=20 + 5 * plain.cpu_s)
            self.cpu_s += outcome.cpu_s
            self.rows.append(
                Row(name, one.line, one.change, one.code, outcome.failed.removeprefix("tests/catalogue/"), of)
            )
            write_rows(self.given.results, self.rows)
            if not outcome.failed:
                print(f"    {name} line {one.line}: {one.change} survives in: {one.code}", flush=True)
        print(f"{name}: {len(left)} mutants, {self.cpu_s - started:.0f} s", flush=True)


def items_of(name: str, items: Sequence[pytest.Item]) -> Iterator[pytest.Item]:
    """The tests of a trick: those of its own file, and its part of the conformance suite."""
    for item in items:
        if item.path == TESTS / f"test_{name}.py":
            yield item
        elif item.path.name == "test_conformance.py" and isinstance(item, pytest.Function):
            given = item.callspec.params if hasattr(item, "callspec") else {}
            check = given["check"].__name__ if "check" in given else item.originalname
            if given.get("name") == name and check.partition("_")[2] in CONFORMANCE:
                yield item


def fingerprint(name: str) -> str:
    """Short hash of the trick's file and of its reference test."""
    texts = [registry().find(name).path.read_bytes(), (TESTS / f"test_{name}.py").read_bytes()]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()[:8]


def read_rows(path: Path) -> list[Row]:
    """The mutants that earlier calls tried."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [Row(**{**row, "line": int(row["line"])}) for row in csv.DictReader(file)]  # type: ignore[arg-type]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Replace the table at once, sorted, so that equal results are equal files."""
    fresh = path.with_suffix(".new")
    with fresh.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row.__slots__)
        writer.writerows(sorted(astuple(row) for row in rows))
    fresh.replace(path)


def summary(rows: Sequence[Row]) -> str:
    """How many mutants were noticed, and which survive without a reason."""
    with EQUIVALENT.open(newline="", encoding="utf-8") as file:
        known = {(row["trick"], row["change"], row["code"]) for row in csv.DictReader(file)}
    survivors = [row for row in rows if not row.noticed_by]
    same = [row for row in survivors if (row.trick, row.change, row.code) in known]
    open_ = [asdict(row) for row in survivors if row not in same]
    tricks = Counter(row.trick for row in rows)
    lines = ["{trick} line {line}: {change} survives in: {code}".format(**row) for row in open_]
    noticed, real = len(rows) - len(survivors), len(rows) - len(same)
    share = f"{noticed} of {len(rows)} mutants of {len(tricks)} tricks noticed ({noticed / max(len(rows), 1):.1%})"
    return "\n".join(
        [*lines, f"{share}; without {len(same)} that compute the same: {noticed / max(real, 1):.1%}"]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="tricks; all that have a test of their own if none is named")
    parser.add_argument(
        "--most", type=int, default=20, help="mutants of a trick, spread evenly over its file"
    )
    parser.add_argument("--reference-only", action="store_true", help="without the conformance suite")
    parser.add_argument("--cpu-minutes", type=float, default=1e6, help="stop at the next trick after so long")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the table, which a call continues")
    parser.add_argument("--summary", action="store_true", help="run nothing, sum the table up")
    given = parser.parse_args()
    torch.set_num_threads(1)
    os.chdir(ROOT)
    tested = [name for name in registry() if (TESTS / f"test_{name}.py").is_file()]
    loop = Loop(given.names or tested, given)
    if not given.summary:
        files = [str(TESTS / f"test_{name}.py") for name in loop.names]
        arguments = [*files, str(TESTS / "test_conformance.py"), "-s", "-q", "-p", "no:cacheprovider"]
        code = pytest.main(arguments, plugins=[loop])
        if code:
            raise SystemExit(int(code))
    print(summary(loop.rows))


if __name__ == "__main__":
    main()
