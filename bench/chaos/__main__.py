"""`python -m bench.chaos [--only R4,S1] [--count 100] [--minutes 10] [--seed 1]`: the promises of docs/reliability.md, checked in full.

Prints a table: promise, checks made, failed and skipped, with reasons. Ends with 1 if any failed, or if all of a promise were skipped. Without `--count` each has its own, hours in all.
`--minutes` ends each promise early, with the count that it reached; another `--seed` adds other checks.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from math import inf
from pathlib import Path

from bench.chaos.promise import Tally
from bench.chaos.promises import PROMISES


def line_of(name: str, text: str, tally: Tally, seconds: float) -> str:
    return f"{name:6}{text:58}{tally.count:7}{len(tally.failed):8}{len(tally.skipped):9}{seconds:9.0f}"


def reasons(tally: Tally) -> list[str]:
    """Why checks were skipped, each reason with its number."""
    return [f"skipped {number} x {why}" for why, number in Counter(tally.skipped).most_common()]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="names of promises, separated by commas")
    parser.add_argument("--count", type=int, default=0, help="checks of each promise")
    parser.add_argument(
        "--minutes", type=float, default=inf, help="begin no check of a promise after this time"
    )
    parser.add_argument("--seed", type=int, default=0, help="of bits, moments and signals")
    args = parser.parse_args()
    only = [name for name in args.only.split(",") if name]
    if unknown := sorted(set(only) - {promise.name for promise in PROMISES}):
        parser.error(
            f"unknown promise {unknown[0]}; known: {', '.join(promise.name for promise in PROMISES)}"
        )
    broken = False
    print(f"{'':6}{'promise':58}{'count':>7}{'failed':>8}{'skipped':>9}{'seconds':>9}", flush=True)
    for promise in PROMISES:
        if only and promise.name not in only:
            continue
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            tally = Tally(ends=time.monotonic() + 60 * args.minutes)
            promise.check(Path(folder), args.count or promise.full, args.seed, tally)
        seconds = time.perf_counter() - started
        print(line_of(promise.name, promise.text, tally, seconds), flush=True)
        for reason in [*tally.failed[:20], *reasons(tally)]:
            print(f"      {reason}", flush=True)
        broken = broken or bool(tally.failed)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
