"""The blocks of the pages that are neither how-tos nor the tutorial, and of the page on clusters, with stubs for what is not there."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from cli_samples import INLINE, STUDY, TASK, ablate
from pages import DOCS, blocks

import ablate as package
from ablate.executors import registry

PREPARED = ["--stages", "report", *INLINE]


def commands(page: str, language: str) -> list[list[str]]:
    """The commands of a page, without comments."""
    texts = (block.text for block in blocks(page) if block.language == language)
    return [
        words for text in texts for line in text.splitlines() if (words := shlex.split(line, comments=True))
    ]


@pytest.mark.slow
def test_the_blocks_of_the_readme_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(torch.randn(40, 1, 28, 28), "images.pt")
    torch.save(torch.arange(40) % 10, "labels.pt")
    (code,) = (block.text for block in blocks("../README.md") if block.language == "python")
    file = code.partition("\n")[0].removeprefix("# ")
    Path(file).write_text(code)
    targets = re.findall(r"^([a-z]+):", (DOCS.parent / "Makefile").read_text(), re.MULTILINE)
    for program, *words in commands("../README.md", "sh"):
        if program == "make":
            assert words[0] in targets
            continue
        assert (program, words[1].partition(":")[0]) == ("ablate", file)
        said = ablate(capsys, *words, *PREPARED)
        assert said.code == 0, (words, said.err)


@pytest.mark.slow
def test_the_blocks_on_resuming_and_exporting_run(capsys, tmp_path, monkeypatch):
    """On a study of a second instead of digits, with fewer trials and epochs."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.py").write_text(TASK)
    Path("digits.toml").write_text(STUDY)
    Path("bigger.toml").write_text(STUDY)
    smaller = {"digits": "digits.toml", "40": "3", "80": "4", "20": "2"}
    for program, *words in commands("resume.md", "bash"):
        assert program == "ablate"
        last = "--resume-from" in words
        words = words if last else [smaller.get(word, word) for word in words]
        said = ablate(capsys, *words, "--stages", "search", *INLINE)
        assert said.code == 0, (words, said.err)
        if "--epochs" in words:
            assert list(Path("studies").glob("digits.2-epochs.model-*.db")), "as the page says of 20 epochs"
    for program, *words in commands("export.md", "bash"):
        if program == "python":
            assert Path(words[0]).is_file(), "tests/export/test_export_script.py trains such scripts"
            continue
        said = ablate(capsys, *[smaller.get(word, word) for word in words])
        missing = "pip install 'ablate[" in said.err  # parquet and mlflow are extras
        assert said.code == 0 or (missing and "mlflow" in words[-1]), (words, said.err)


class SLURMCluster:
    """Of dask-jobqueue, as far as the page uses it."""

    scheduler_address = "tcp://host:8786"

    def __init__(self, *, queue, cores, processes, memory, walltime, worker_extra_args) -> None: ...

    def adapt(self, *, minimum_jobs, maximum_jobs) -> None: ...


def test_the_blocks_on_clusters_run_with_stubs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("my_task.py").write_text(TASK)
    titled = {block.title: block.text for block in blocks("howto/cluster.md") if block.title}
    assert set(titled) == {"ray.sh", "on_slurm.py", "my_pool.py"}
    for name, text in titled.items():
        Path(name).write_text(text)

    studied = []
    jobqueue = ModuleType("dask_jobqueue")
    jobqueue.SLURMCluster = SLURMCluster
    monkeypatch.setitem(sys.modules, "dask_jobqueue", jobqueue)
    monkeypatch.setitem(vars(package), "study", lambda task, **settings: studied.append((task, settings)))
    runpy.run_path("on_slurm.py")
    assert studied == [("my_task.py:task", {"executor": "dask:tcp://host:8786", "workers": 64})]

    said = ablate(
        capsys,
        "study",
        "my_task.py:task",
        "--executor",
        "my_pool:make",
        "--stages",
        "report",
        "--device",
        "cpu",
    )
    assert said.code == 0, said.err
    pool = registry.factory_of("my_pool:make")(2, None)
    pool.shutdown()

    attribute = registry.CLUSTERS["ray"][1]
    for words in (shlex.split(line, comments=True) for line in titled["ray.sh"].splitlines()):
        if words[0] != "ablate":
            assert words[0] in ("pip", "ray")
            continue
        at = words.index("--executor")
        with monkeypatch.context() as patch:  # Ray need not be installed
            patch.setattr(registry, "import_module", lambda name: SimpleNamespace(**{attribute: dict}))
            assert registry.factory_of(words[at + 1])().keys() >= {"address"}
        words = [*words[1:at], *words[at + 2 :]]
        words = [word if word != "cuda" else "cpu" for word in words]
        said = ablate(capsys, *words, "--stages", "report", "--executor", "inline")
        assert said.code == 0, (words, said.err)
