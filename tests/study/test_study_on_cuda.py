"""A whole study on a GPU that is not there (`tests/lanes/cuda_stand_in.py`): every stage takes its branch for CUDA."""

from __future__ import annotations

from study_samples import place

from ablate.executors.job import context_of
from ablate.lanes import autotune
from ablate.study.driver import run_study
from ablate.study.request import Options, find
from ablate.study.resume import session_of
from tests.lanes.cuda_stand_in import stand_in

STUDY = """
[baseline]
optimizer = { name = "momentum", lr = 0.1 }
[space]
include = ["weight_decay"]
[search]
trials = 4
"""


def test_a_study_searches_and_measures_costs_on_cuda(tmp_path, monkeypatch):
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(autotune.LANES, "cuda", (2, 4))
    here = place(tmp_path, study=STUDY)
    context_of.cache_clear()
    with stand_in(monkeypatch) as gpu:
        options = Options(
            tmp_path / "studies", tmp_path / "reports", "auto", 4, 0, "auto", command="ablate study"
        )
        with session_of(find(str(tmp_path / "tiny.toml"), options), options) as session:
            run_study(session, options, ("search", "costs"))
    context_of.cache_clear()
    assert here.fact("environment")["gpu"] == "Stand-in"
    assert here.fact("environment")["device"] == "cuda"
    assert here.fact("kernel")["kernel"] in ("vmap", "batched")
    assert [str(entry.result.outcome) for entry in here.entries()].count("complete") >= 4
    assert gpu.graphs
    assert sum(graph.replays for graph in gpu.graphs) > 0
    (row,) = here.fact("costs")
    assert row["memory_ratio"] == 1.0
    assert gpu.asked["max_memory_allocated"] == 2
