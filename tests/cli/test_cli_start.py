"""How soon a study begins to train: nothing is imported before that can wait."""

import os
import subprocess
import sys

import pytest

STUDY = """
task = "digits"
epochs = 1
[baseline]
optimizer = { name = "momentum", lr = 0.05 }
[space]
include = ["dropout", "weight_decay"]
[search]
trials = 2
"""
BEGUN = """
import os
import sys
from ablate.cli.app import main
from ablate.study.session import Session

def begun(session, planned, job):
    heavy = {"pandas", "scipy", "sklearn", "seaborn", "matplotlib"} & set(sys.modules)
    assert not heavy, heavy
    os._exit(77)  # past everything that handles exceptions

Session._dispatch = begun
sys.argv = ["ablate", *sys.argv[1:]]
main()
"""


def test_a_search_begins_before_statistics_are_imported(tmp_path):
    (tmp_path / "tiny.toml").write_text(STUDY)
    words = ["study", "tiny.toml", "--stages", "search", "--kernel", "loop", "--lanes", "2", "--executor", "inline"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", BEGUN, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 77, done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are not forked")
def test_workers_find_everything_imported(tmp_path):
    """What a worker still imports before its first job would be imported once in each of them."""
    (tmp_path / "tiny.toml").write_text(STUDY.replace("digits", "wine"))
    probe = (
        "import sys\n"
        "def told(progress=None):\n"
        "    return sorted(name for name in sys.modules if name.split('.')[0] in ('ablate', 'torch', 'pandas', 'scipy', 'typer'))\n"
        "def loaded(progress=None):\n"
        "    from ablate.tasks.load import load\n    load('wine')\n    return told()\n"
        "if __name__ == '__main__':\n"
        "    from pathlib import Path\n"
        "    from ablate.cli.options import MachineOptions, preload_workers\n"
        "    preload_workers('"
        "tiny.toml"
        "', Path('"
        "studies"
        "'), MachineOptions(device='"
        "cpu"
        "', workers=2))\n"
        "    from ablate.executors.processes import Processes\n"
        "    with Processes(1) as pool:\n"
        "        before, after = pool.call(told).result(), pool.call(loaded).result()\n"
        "    assert {'ablate.cli.app', 'ablate.executors.job', 'torch', 'pandas'} <= set(before), before\n"
        "    assert before == after, set(after) - set(before)\n"
    )
    (tmp_path / "probe.py").write_text(probe)
    done = subprocess.run(
        [sys.executable, "probe.py"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
