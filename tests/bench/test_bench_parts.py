"""`python -m bench` as data: what runs on a CPU and on a GPU, its targets, tasks and lines. Nothing is trained."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch

from ablate.study.environment import environment
from bench import __main__ as command
from bench import common, grids, lanes, trials
from bench.__main__ import Part, kept_name, parts, run_all


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks as if Fashion-MNIST and mammography lay in it."""
    for file in ("fashion_mnist.npz", "tabular/mammography.csv"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    monkeypatch.setenv("ABLATE_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ABLATE_DATA", raising=False)
    monkeypatch.delenv("ABLATE_FETCH", raising=False)


def test_targets_are_those_of_the_device():
    assert common.targets("cpu").trials("digits") == 4
    assert common.targets("cpu").trials("mammography") == common.targets("cpu").trials("adult") == 8
    assert common.targets("cpu").grids == 4
    assert common.targets("cpu").graphed is None
    cuda = common.targets("cuda")
    assert {cuda.trials(task) for task in ("digits", "fashion-mnist", "breast-cancer")} == {20}
    assert (cuda.grids, cuda.graphed) == (15, 3)
    assert common.targets("cpu").trials("my.py:task") is None
    assert common.targets("mps").trials("digits") is None
    assert (common.target(None), common.target(3.0)) == ("no target", "target 3")


def test_on_a_cpu_all_parts_run_there_and_the_absolute_time_is_left_out_by_name(data: Path):
    chosen = parts("cpu", "cpu")
    ran = [part.command[0] for part in chosen if not part.without]
    assert ran == ["bench.trials", "bench.grids", "bench.lanes", "bench.search", "bench.growth"]
    assert all(part.command[-2:] == ("--device", "cpu") for part in chosen)
    (absolute,) = [part for part in chosen if part.without]
    assert "fashion-mnist" in absolute.command
    assert "hour" in absolute.without


def test_on_a_gpu_the_absolute_time_is_one_hundred_trials_of_ten_epochs(data: Path):
    chosen = parts("cuda", "cuda:1", repeats=5)
    assert not any(part.without for part in chosen)
    assert all(part.command[-2:] == ("--device", "cuda:1") for part in chosen)
    assert next(part.command[1:3] for part in chosen if part.command[0] == "bench.trials") == (
        "--trials",
        "100",
    )
    text = " ".join(next(part.command for part in chosen if "--own-only" in part.command))
    assert "--tasks fashion-mnist --trials 100 --epochs 10 --own-only --repeats 5" in text
    assert "--trials 7 " in str(parts("cuda", "cuda", trials=7)[0])


@pytest.mark.usefixtures("bare")
def test_a_gpu_without_the_data_says_what_is_missing():
    (absolute,) = [part for part in parts("cuda", "cuda") if part.without]
    assert "fashion_mnist.npz" in absolute.without
    assert common.default_tasks("trials", "cuda") == common.default_tasks("lanes", "cuda")
    assert common.default_tasks("lanes", "cuda") == ["digits", "breast-cancer"]
    assert "fashion_mnist.npz" in common.left_out("lanes", "cuda")
    assert not common.left_out("lanes", "cpu")


def test_tasks_by_device(data: Path):
    assert common.default_tasks("trials", "cpu") == ["digits", "mammography"]
    assert (
        common.default_tasks("lanes", "cpu")
        == common.default_tasks("grids", "cuda")
        == ["digits", "breast-cancer"]
    )
    assert common.default_tasks("lanes", "cuda") == ["digits", "fashion-mnist", "mammography"]
    assert not common.left_out("lanes", "cuda")


@pytest.mark.parametrize("main", [trials.main, grids.main, lanes.main, command.main])
def test_a_device_that_is_not_there_ends_with_one_line(main):
    with pytest.raises(SystemExit, match="cuda:99"):
        main(["--device", "cuda:99"])


def test_auto_is_the_gpu_where_there_is_one():
    assert common.device_of_option("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert "cores" in common.hardware(torch.device("cpu"))
    assert torch.__version__ in common.hardware(torch.device("cpu"))


def test_lines_tell_the_target_of_the_device_and_the_ratio_of_medians():
    plain, ours = trials.Side([40.0, 60.0, 50.0], [10] * 3), trials.Side([5.0, 4.0, 6.0], [10] * 3, {"why"})
    text = "\n".join(trials.report("digits", 30, 2, plain, ours, "cuda"))
    assert "plain 50.0 s [40.0, 60.0]" in text
    assert (
        "10.00 × trials per hour (target 20), 15.00 × runs" in text
    )  # 15 runs of finalists beside 30 trials
    assert text.endswith("why")
    alone = "\n".join(trials.report("digits", 30, 2, trials.Side(), ours, "cuda"))
    assert "30 trials × 2 epochs" in alone
    assert "21,600 trials an hour" in alone
    grids_text = "\n".join(grids.report("digits", 30, [(8.0, 9.0)] * 3, [(2.0, 6.0)] * 3, "cuda"))
    assert "target 15" in grids_text
    assert "ratio 4.00" in grids_text
    assert "target 4" in "\n".join(grids.report("digits", 30, [(8.0, 9.0)], [(2.0, 6.0)], "cpu"))


def test_lanes_are_compared_with_the_graphed_loop_where_there_is_one():
    times = {"plain": [4.0], "resident": [3.0], lanes.GRAPHED: [2.0, 1.0, 3.0], "8 lanes": [0.5, 0.4, 0.6]}
    lines = list(lanes.lines(times, 0.1, "cuda"))
    assert lines[-1] == "  8 lanes: 4.00 × CUDA-graphed solo loop (target 3)"
    assert "8.00 × plain, 20.0% of the roofline" in lines[-2]
    del times[lanes.GRAPHED]
    assert "graph" not in "".join(lanes.lines(times, 0.1, "cpu"))


def test_a_part_that_fails_is_named_and_the_next_one_runs():
    file = io.StringIO()
    chosen = (
        Part(("bench.lanes", "--device", "nonsense")),
        Part(("bench.grids",), "no reason"),
        Part(("platform",)),
    )
    assert run_all(chosen, file) == 1
    text = file.getvalue()
    assert "failed with exit code 1" in text
    assert "# python -m bench.grids\nleft out: no reason\n" in text
    assert text.rstrip().splitlines()[-1].startswith(("Linux", "macOS", "Windows"))


def test_kept_lines_are_named_after_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert kept_name({"gpu": "NVIDIA T4 (x)", "cpu": "any", "cores": 2}) == "nvidia-t4-x.txt"
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    monkeypatch.setattr(command, "parts", lambda *_, **__: (Part(("platform",)),))
    assert command.main(["--keep", "--device", "cpu"]) == 0
    (path,) = tmp_path.iterdir()
    assert path.name == kept_name(environment(torch.device("cpu")))
    kept = path.read_text(encoding="utf-8")
    assert kept.startswith("\n# python -m platform\n")
    assert kept in capsys.readouterr().out


def test_list_runs_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(command, "run_all", lambda *_: pytest.fail("something ran"))
    assert command.main(["--list", "--device", "cpu"]) == 0
    assert capsys.readouterr().out.count("python -m bench.") == len(parts("cpu", "cpu"))
