"""A model edited between two sessions: no run of the one is beside a run of the other, and none is lost."""

from study_samples import Heard, place
from test_study_tasks import SHORT

from ablate.ledger import store
from ablate.ledger.index import read_index
from ablate.ledger.store import Ledger


def test_runs_of_an_edited_model_are_kept_apart_and_found_again(tmp_path, monkeypatch):
    here, heard = place(tmp_path, study=SHORT), Heard()
    first = {entry.identity: entry for entry in here.run(("search",))}
    file = tmp_path / "tiny_task.py"
    text = file.read_text()
    assert "nn.ReLU()" in text
    file.write_text(text.replace("nn.ReLU()", "nn.Tanh()"))
    second = {entry.identity: entry for entry in here.run(("search",), progress=heard)}
    assert any("the structure of the model has changed" in line and "are kept in" in line for line in heard.said)  # fmt: skip
    shared = first.keys() & second.keys()
    assert shared
    assert any(first[name].result.metrics != second[name].result.metrics for name in shared)
    asides = list(here.ledger.parent.glob("*.model-*.db"))
    assert len(asides) == 1
    with Ledger.open(asides[0], write=False) as ledger:
        assert ledger.finished() == first.keys()
    file.write_text(text)
    again = Heard()
    checked: list[object] = []
    monkeypatch.setattr(store, "read_index", lambda connection: checked.append(1) or read_index(connection))
    assert {entry.identity for entry in here.run(("search",), progress=again)} == first.keys()
    assert again.entries == []
    assert any("continues" in line for line in again.said)
    checked.clear()
    here.run(("search",))
    assert len(checked) == 2, "all runs are checked when the study opens, and when this test reads them"
