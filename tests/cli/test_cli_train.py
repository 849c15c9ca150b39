"""`ablate train`: its weights are loaded again, and it is not resumed with other data."""

import json
from pathlib import Path

import pytest
from cli_samples import TASK, ablate

from ablate import load as load_model
from ablate.lanes import checkpoint
from ablate.records.errors import InputError
from ablate.tasks.load import load as load_task


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.py").write_text(TASK)
    return tmp_path


def test_trained_weights_are_loaded_by_the_task_that_the_caller_names(capsys, here):
    document = json.loads(ablate(capsys, "train", "tiny.py:task", "--json").out)
    model = load_model(here / document["weights"], task="tiny.py:task")
    task = load_task("tiny.py:task")
    right = (model(task.validation.x).argmax(1) == task.validation.y).float().mean()
    assert right.item() == pytest.approx(document["metrics"]["validation/accuracy"])
    (here / "tiny.py").write_text(TASK + "\n")
    with pytest.raises(InputError, match=r"tiny\.py:task has changed since"):
        load_model(here / document["weights"], task="tiny.py:task")
    with pytest.raises(InputError, match=r"trained on tiny\.py:task, which is not built in"):
        load_model(here / document["weights"])


def test_a_run_is_not_resumed_with_other_data(capsys, here, monkeypatch):
    """Interrupted after an epoch; then the labels are corrected, by something that the task's file reads."""
    (here / "tiny.py").write_text(
        "import os\n" + TASK.replace("0).long()", "0).long() ^ int('SWAP' in os.environ)")
    )
    with monkeypatch.context() as patch:
        patch.setattr("ablate.lanes.checkpoint.save", saved_then_interrupted(checkpoint.save))
        assert ablate(capsys, "train", "tiny.py:task").code == 130
    monkeypatch.setenv("SWAP", "1")
    said = ablate(capsys, "train", "tiny.py:task")
    assert said.code == 2
    assert last(said).startswith("ablate: the data of 'tiny' changed since ")
    monkeypatch.delenv("SWAP")
    assert json.loads(ablate(capsys, "train", "tiny.py:task", "--json").out)["resumed_from_epoch"] == 1


def last(said):
    """The last line on standard error: the error, behind the notes on the task."""
    *notes, line = said.err.splitlines()
    assert all(note.startswith("note: ") for note in notes)
    return line


def saved_then_interrupted(save):
    def saving(path, training):
        save(path, training)
        raise KeyboardInterrupt

    return saving


def test_an_exception_in_training_is_one_line_that_names_the_users_file(capsys, here):
    """It is raised with whole batches only, so that the look at the model before training finds nothing."""
    net = """
class Net(nn.Sequential):
    def forward(self, x):
        if len(x) == 16:
            return {}['absent']
        return super().forward(x)
"""
    (here / "tiny.py").write_text(
        TASK.replace("def model", f"{net}def model").replace("nn.Sequential(nn.L", "Net(nn.L")
    )
    said = ablate(capsys, "train", "tiny.py:task")
    assert said.code == 1
    assert last(said).startswith(
        "ablate: stopped by an error in your code: KeyError: 'absent' (tiny.py:13); traceback: "
    )
    trace = Path(last(said).split("traceback: ")[1].split(",")[0])
    assert "return {}['absent']" in trace.read_text()
    trace.unlink()
