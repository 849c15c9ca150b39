"""The executor protocol: an executor of another package trains a study, and bad names are refused."""

from __future__ import annotations

import pytest
import toy_executor

from ablate.executors.inline import Inline
from ablate.executors.processes import Processes
from ablate.executors.registry import factory_of
from ablate.ledger.store import Ledger
from ablate.records.errors import InputError
from ablate.study.driver import run_study
from ablate.study.request import Options, find
from ablate.study.resume import session_of

STUDY = """task = "wine"
epochs = 2
[baseline]
optimizer = { name = "momentum", lr = 0.1 }
[space]
include = ["weight_decay"]
[search]
sampler = "random"
trials = 6
"""


def search(folder, executor: str) -> list:
    (folder / "tiny.toml").write_text(STUDY)
    options = Options(folder / "studies", folder / "reports", "cpu", 2, 0, executor, "loop")
    opened = find(str(folder / "tiny.toml"), options)
    with session_of(opened, options) as session:
        run_study(session, options, ("search",))
    with Ledger.open(folder / "studies" / "tiny.db", write=False) as ledger:
        return [(e.identity, repr(sorted(e.result.metrics.items()))) for e in ledger.entries()]


def test_a_toy_executor_trains_a_study_as_the_inline_executor_does(tmp_path):
    toy_executor.log.clear()
    for name in ("toy", "inline"):
        (tmp_path / name).mkdir()
    toy = search(tmp_path / "toy", "toy_executor:OneThread")
    assert len(toy) >= 6
    assert sorted(toy) == sorted(search(tmp_path / "inline", "inline"))
    assert toy_executor.log[-1] == "shutdown"
    assert any(line.startswith("submit") for line in toy_executor.log)


def test_an_error_in_the_driver_cancels(tmp_path):
    toy_executor.log.clear()
    (tmp_path / "tiny.toml").write_text(STUDY)
    options = Options(tmp_path / "studies", device="cpu", executor="toy_executor:OneThread", kernel="loop")
    with (
        pytest.raises(RuntimeError, match="driver"),
        session_of(find(str(tmp_path / "tiny.toml"), options), options),
    ):
        raise RuntimeError("driver")
    assert toy_executor.log == ["cancel"]


def test_auto_is_processes_where_there_are_several_workers():
    assert isinstance(factory_of("auto")(1, None), Inline)
    executor = factory_of("auto")(2, None)
    assert isinstance(executor, Processes)
    executor.shutdown()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("inlin", "did you mean 'inline'"),
        ("nonsense", "known: auto, dask, inline, processes, ray"),
        ("no_such_module:factory", "cannot be imported"),
        ("toy_executor:missing", "cannot be imported"),
        ("toy_executor:", "cannot be imported"),
        (":OneThread", "cannot be imported"),
        ("toy_executor:not_callable", "is not a function"),
    ],
)
def test_bad_names_are_refused(name, message):
    with pytest.raises(InputError, match=message) as caught:
        factory_of(name)
    assert caught.value.exit_code == 2
