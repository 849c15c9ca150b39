"""Mutation test of the catalogue: a sign, a constant, a comparison or an axis of a trick's mathematics is changed, and its tests must fail.

    python -m bench.mutate                     # every trick, at most 20 mutants each
    python -m bench.mutate spectral_norm --most 100

A mutant is a trick's file with one change in its syntax tree. It takes the place of the trick's module in a forked process, which runs the trick's own
reference test (`tests/catalogue/test_NAME.py`) and then, unless told otherwise, the conformance suite. Records (`TRICK`), docstrings, annotations and messages of errors are not
mutated. `bench/results/mutants.csv` has a line a trick, `bench/results/mutants-survived.csv` the mutants that no test noticed.
"""

from __future__ import annotations

import argparse
import csv
import importlib.abc
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from ablate import testing
from ablate.catalogue.registry import registry
from bench.mutants import Mutant, mutants

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench/results"
LIMIT = 120
"""CPU seconds after which a mutant that still runs counts as noticed: a test hangs."""
CONFORMANCE = (
    testing.check_neutral_is_baseline,
    testing.check_default_acts,
    testing.check_lanes_equal_alone,
    testing.check_resume_is_exact,
    testing.check_model_is_left_alone,
)


class _Source(importlib.abc.SourceLoader):
    """Runs a mutant under the name and path of the module that it changes."""

    def __init__(self, path: Path, source: str) -> None:
        self.path, self.source = path, source

    def get_filename(self, fullname: str) -> str:
        return str(self.path)

    def get_data(self, path: str) -> bytes:
        return self.source.encode()


def is_noticed(name: str, mutant: Mutant, *, conformance: bool) -> bool:
    """Whether a test of the trick fails, or does not end, with the mutant in its place. In a process of its own."""
    child = os.fork()
    if child == 0:
        signal.setitimer(signal.ITIMER_PROF, LIMIT)  # its signal ends the process
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        os._exit(0 if _passes(name, mutant, conformance=conformance) else 1)
    _, status = os.waitpid(child, 0)
    return status != 0


def _passes(name: str, mutant: Mutant, *, conformance: bool) -> bool:
    entry = registry().find(name)
    spec = importlib.util.spec_from_loader(
        entry.module, _Source(entry.path, mutant.source), origin=str(entry.path)
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[entry.module] = module
    try:
        spec.loader.exec_module(module)
        if pytest.main([str(ROOT / f"tests/catalogue/test_{name}.py"), "-x", "-q", "-p", "no:cacheprovider"]):
            return False
        for check in CONFORMANCE if conformance else ():
            check(testing.suite(), name)
    except BaseException:  # noqa: BLE001 - whatever a mutant raises, a test has noticed it
        return False
    return True


def chosen(every: Sequence[Mutant], most: int) -> list[Mutant]:
    """At most `most` of them, evenly spread over the file."""
    return [every[i * len(every) // most] for i in range(most)] if len(every) > most else list(every)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="tricks; all that have a test of their own if none is named")
    parser.add_argument(
        "--most", type=int, default=20, help="mutants of a trick, evenly spread over its file"
    )
    parser.add_argument("--reference-only", action="store_true", help="without the conformance suite")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="folder of the two tables")
    given = parser.parse_args()
    torch.set_num_threads(1)
    os.chdir(ROOT)
    tested = [name for name in registry() if (ROOT / f"tests/catalogue/test_{name}.py").is_file()]
    rows, survivors = [], []
    for name in given.names or tested:
        path = registry().find(name).path
        every = mutants(path)
        unchanged = Mutant(0, "", path.read_text(encoding="utf-8"))
        if is_noticed(name, unchanged, conformance=not given.reference_only):
            raise SystemExit(f"the tests of {name} fail or hang without any change")
        tried, started = chosen(every, given.most), time.perf_counter()
        left = [one for one in tried if not is_noticed(name, one, conformance=not given.reference_only)]
        rows.append(
            [name, len(every), len(tried), len(tried) - len(left), round(time.perf_counter() - started)]
        )
        survivors += [[name, one.line, one.change] for one in left]
        _write(given.folder / "mutants.csv", ["trick", "mutants", "tried", "noticed", "seconds"], rows)
        _write(given.folder / "mutants-survived.csv", ["trick", "line", "change"], survivors)
        print(*rows[-1], *(f"line {one.line}: {one.change};" for one in left), flush=True)
    tried_in_all, noticed = (sum(row[i] for row in rows) for i in (2, 3))
    print(f"{noticed} of {tried_in_all} mutants noticed ({noticed / max(tried_in_all, 1):.1%})")


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


if __name__ == "__main__":
    main()
