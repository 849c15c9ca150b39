"""`python -m bench.statistics.real`: the ranking judged on real training, with tricks whose truth is known.

A/A studies: seven tricks that do nothing but change chance. Planted studies: label noise of 2, 5 and 10 %, more
data, and the placebo. The tricks are plug-ins behind the entry point `ablate.tricks`, as anybody's are. Each study
is `ablate rank` around the baseline with a seed of its own; what is trained stays in its ledger, so that the same
command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from bench.statistics.real_figures import Figure, aa_figures, by_trick, planted_figures
from bench.statistics.sections import put

HERE = Path(__file__).parent
PLUGINS = HERE / "plugins"
RESULTS = HERE.parent / "results"
MULTIPLIERS = (7, 11, 13, 17, 19, 23, 29)
SHARES = (2, 5, 10)
KINDS = {
    "aa": tuple(f"renumber_{m}" for m in MULTIPLIERS),
    "planted": (*(f"wrong_labels_{share}" for share in SHARES), "more_data"),
}
STUDY = """task = "{folder}/planted.py:task"
seed = {seed}
[baseline]
optimizer = {{ name = "momentum", lr = 0.1 }}
[space]
include = [{names}]
[rank]
design = "screening"
around = "baseline"
waves = 3
"""


def lay_out(folder: Path) -> None:
    """The task and the plug-ins as an installed distribution: modules, and an entry point for each."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("planted_data", "planted", "more_data"):
        (folder / f"{name}.py").write_text((PLUGINS / f"{name}.py").read_text(encoding="utf-8"))
    made = ["more_data"]
    for template, constant, values in (
        ("renumber", "MULTIPLIER = 7", MULTIPLIERS),
        ("wrong_labels", "PERCENT = 5", SHARES),
    ):
        text = (PLUGINS / f"{template}.py").read_text(encoding="utf-8")
        for value in values:
            plugin = text.replace(constant, f"{constant.split()[0]} = {value}")
            plugin = plugin.replace(f'name="{template}"', f'name="{template}_{value}"')
            (folder / f"{template}_{value}.py").write_text(plugin)
            made.append(f"{template}_{value}")
    known = folder / "ablate_planted-0.dist-info"
    known.mkdir(exist_ok=True)
    (known / "METADATA").write_text("Metadata-Version: 2.1\nName: ablate-planted\nVersion: 0\n")
    points = "".join(f"{name} = {name}\n" for name in made)
    (known / "entry_points.txt").write_text(f"[ablate.tricks]\n{points}")


def rank_study(folder: Path, kind: str, seed: int) -> list[dict[str, object]]:
    """One study, trained or resumed in this process: one row an effect."""
    from ablate.ranking.estimation.coding import lines
    from ablate.report.collect import collect
    from ablate.study.driver import run_study
    from ablate.study.request import Options, find
    from ablate.study.resume import session_of

    file = folder / f"{kind}-{seed}.toml"
    names = ", ".join(f'"{name}"' for name in KINDS[kind])
    file.write_text(STUDY.format(folder=folder, seed=seed, names=names))
    options = Options(folder / "studies", folder / "reports", device="cpu", executor="inline")
    with session_of(find(str(file), options), options) as session:
        run_study(session, options, ("rank",))
        data = collect(session.ledger)
    assert data.ranking is not None
    runs, sigma = int(data.diagnostics["used"]), data.diagnostics["sigma"]  # type: ignore[index]
    return [
        {"kind": kind, "seed": seed, "trick": row["trick"], "effect": row["effect"], "low": row["low"], "high": row["high"],
         "verdict": row["verdict"], "margin": row["margin"], "sigma": sigma, "runs": runs}
        for row in lines(data.ranking) if row["estimand"] == "average"
    ]  # fmt: skip


def work(folder: Path, studies: Sequence[tuple[str, int]]) -> None:
    """What a worker process does: a line of JSON a study, given by its kind and seed."""
    torch.set_num_threads(1)
    for kind, seed in studies:
        print(json.dumps(rank_study(folder, kind, seed)), flush=True)
        print(f"{kind}: study {seed} done", file=sys.stderr, flush=True)


def measure(folder: Path, studies: Mapping[str, int], workers: int) -> dict[str, list[dict[str, object]]]:
    """Kind -> the rows of so many studies, seeds 0, 1, …, shared among processes that see the plug-ins installed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))}  # fmt: skip
    wanted = [(kind, seed) for kind, count in studies.items() for seed in range(count)]
    parts = [wanted[first::workers] for first in range(min(workers, len(wanted)))]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.statistics.real", "--folder", str(folder), "--worker",
             ",".join(f"{kind}:{seed}" for kind, seed in part)],
            stdout=subprocess.PIPE, text=True, env=environment, cwd=HERE.parents[1],
        )
        for part in parts
    ]  # fmt: skip
    rows: dict[str, list[dict[str, object]]] = {kind: [] for kind in studies}
    for process, part in zip(running, parts, strict=True):
        out, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"a worker of the studies {part} ended with code {process.returncode}")
        for (kind, _), line in zip(part, out.splitlines(), strict=True):
            rows[kind] += json.loads(line)
    return {kind: sorted(part, key=lambda row: (row["seed"], row["trick"])) for kind, part in rows.items()}  # type: ignore[arg-type,return-value]


def line(figure: Figure) -> str:
    state = "–" if figure.target == "none" else ("ok" if figure.met else "MISS")
    return f"| {figure.world} | {figure.name} | {figure.value:.3f} | {figure.low:.3f}–{figure.high:.3f} | {figure.target} | {figure.n} | {state} |"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.statistics.real", description=__doc__)
    parser.add_argument("--aa", type=int, default=200, help="A/A studies (default 200)")
    parser.add_argument("--planted", type=int, default=100, help="planted studies (default 100)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "ablate-validation")
    parser.add_argument(
        "--write", action="store_true", help="record the outcome in bench/results/validation.md"
    )
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.folder.resolve()
    if options.worker:
        studies = [study.partition(":") for study in options.worker.split(",")]
        work(folder, [(kind, int(seed)) for kind, _, seed in studies])
        return 0
    started = time.monotonic()
    lay_out(folder)
    rows = measure(folder, {kind: getattr(options, kind) for kind in KINDS}, options.processes)
    figures = [*aa_figures(rows["aa"]), *planted_figures(rows["planted"])]
    head = [
        "| studies | figure | measured | 95 % interval | target | n | |",
        "|---|---|---:|---|---|---:|---|",
    ]
    table = [*head, *map(line, figures), "", "Planted, over studies:", "", *by_trick(rows["planted"]), "", "A/A, over studies:", "", *by_trick(rows["aa"])]  # fmt: skip
    print("\n".join(table))
    missed = [figure for figure in figures if not figure.met]
    if options.write:
        write(
            rows,
            table,
            options,
            time.monotonic() - started,
            sum(figure.target != "none" for figure in figures),
            len(missed),
        )
    return 1 if missed else 0


def write(
    rows: dict[str, list[dict[str, object]]], table: list[str], options: argparse.Namespace, seconds: float,
    figures: int, missed: int,
) -> None:  # fmt: skip
    runs = {
        kind: sum({row["seed"]: int(row["runs"]) for row in rows_of_kind}.values())
        for kind, rows_of_kind in rows.items()
    }  # type: ignore[call-overload]
    text = [
        "## The screening design on real training with known effects", "",
        f"`python -m bench.statistics.real --aa {options.aa} --planted {options.planted} --write`, {seconds:.0f} s for what was "
        f"not yet in its ledgers, on a {os.cpu_count()}-core {platform.machine()} CPU (shared with other work); Python "
        f"{platform.python_version()}, torch {torch.__version__}.", "",
        "Task: scikit-learn's digits, 150 to train on, 599 to validate, a perceptron 64–32–10, SGD with momentum 0.9, rate 0.1, "
        "20 epochs of 10 steps. Each study is `ablate rank` around the baseline with a seed of its own: a screening "
        "array with the placebo, up to 3 waves, automatic margin. The tricks are plug-ins (bench/statistics/plugins).", "",
        f"A/A: {options.aa} studies, {runs['aa']} runs, seven tricks that renumber the training examples and so change nothing but "
        f"chance. Planted: {options.planted} studies, {runs['planted']} runs, 2, 5 and 10 % wrong labels, more training data, "
        "the placebo. n: studies, or studies × tricks. Every effect of every study: validation.csv.", "",
        f"**{figures - missed} of {figures} targets met.**", "", *table, "",
    ]  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    put("real", text)
    everything = [row for rows_of_kind in rows.values() for row in rows_of_kind]
    with (RESULTS / "validation.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(everything[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()}
            for row in everything
        )


if __name__ == "__main__":
    sys.exit(main())
