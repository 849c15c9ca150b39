"""The commands in docs/tables.md run as they stand there."""

import re
import shlex
from itertools import product
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from cli_samples import ablate

DOCS = Path(__file__).parents[2] / "docs" / "tables.md"
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL) for line in block.splitlines()
]  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the page speaks of."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    runs = pd.DataFrame(product((0, 1), (0, 1), (0.01, 0.1, 1.0), range(4)), columns=["dropout", "mixup", "lr", "seed"])  # fmt: skip
    runs.assign(val_acc=0.8 + 0.01 * draw.normal(size=len(runs))).to_csv("runs.csv", index=False)
    grid = pd.DataFrame(
        product("abc", ("adam", "sgd"), (0.01, 0.1), range(3)), columns=["problem", "optimizer", "lr", "seed"]
    )
    grid.assign(acc=draw.normal(size=len(grid))).to_csv("grid.csv", index=False)
    history = pd.DataFrame(product(range(8), range(1, 5)), columns=["run_id", "epoch"])
    history.assign(aug=history["run_id"] % 2, acc=draw.normal(size=len(history))).to_csv("history.csv", index=False)  # fmt: skip
    coded = pd.DataFrame({"aug": [0, 1] * 10, "status": [1, 1, 1, 3] * 5, "acc": draw.normal(size=20)})
    coded.to_csv("coded.csv", index=False)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(study_name="mine", storage="sqlite:///study.db")
    study.add_trials([
        optuna.create_trial(value=draw.normal(), params={"x": draw.uniform()}, distributions={"x": optuna.distributions.FloatDistribution(0, 1)})
        for _ in range(12)
    ])  # fmt: skip
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_runs(capsys, here, command: str):
    program, *words = shlex.split(command)
    assert program == "ablate"
    said = ablate(capsys, *words)
    assert said.code == 0, said
    assert "report: " in said.out
