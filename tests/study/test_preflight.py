"""What would stop a study later is refused at once, and nothing is written."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from study_samples import STUDY, TABULAR, place

from ablate.records.errors import InputError
from ablate.study.driver import STAGES
from ablate.study.preflight import check_folder, check_ready
from ablate.study.request import find
from ablate.study.resume import session_of


def refused(here, stages=STAGES, **changes):
    """The one line, after making sure that the folder is as it was."""
    options = replace(here.options(), **changes)
    opened = find(str(here.folder / "tiny.toml"), options)
    before = sorted(here.folder.rglob("*"))
    with pytest.raises(InputError) as caught:
        check_ready(opened, options, stages)
    assert sorted(here.folder.rglob("*")) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_study_that_can_be_run_passes_and_leaves_nothing(tmp_path):
    here = place(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    check_ready(find(str(tmp_path / "tiny.toml"), here.options()), here.options(), STAGES)
    assert sorted(tmp_path.rglob("*")) == before


def test_device_and_executor(tmp_path):
    here = place(tmp_path)
    assert "'warp' is not a device" in refused(here, device="warp")
    assert "there is no device 'cuda:99' here" in refused(here, device="cuda:99")
    assert "unknown executor 'inlin'; did you mean 'inline'?" in refused(here, executor="inlin")


def test_folders(tmp_path):
    here = place(tmp_path)
    file = tmp_path / "file"
    file.write_text("")
    assert f"{file} is a file; name another with --out" in refused(here, reports=file)
    assert "name another with --studies" in refused(here, studies=file / "below" / "it")
    assert "too long" in refused(here, studies=tmp_path / ("x" * 300))
    check_folder(tmp_path / "new" / "newer", "--out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path):
    here = place(tmp_path)
    (tmp_path / "closed").mkdir(mode=0o500)
    assert "cannot be written" in refused(here, reports=tmp_path / "closed")


def test_missing_stages(tmp_path):
    here = place(tmp_path, study=STUDY.replace("lr = 0.1", 'lr = "lr-find"'))
    assert "left to lr-find; run the stage lr-find" in refused(here, ("search",))
    here = place(tmp_path)
    assert "there is no best recipe yet; run the stage search" in refused(here, ("rank",))
    here.run(("search",))
    check_ready(find(str(tmp_path / "tiny.toml"), here.options()), here.options(), ("rank",))


def test_recipe_file_and_space(tmp_path):
    here = place(tmp_path, study=STUDY.replace("waves = 1", 'around = "nowhere.toml"'))
    assert "there is no recipe file nowhere.toml" in refused(here)
    here = place(tmp_path, study=STUDY.replace('"dropout", "weight_decay", "warmup", ', ""))
    assert "nothing is left to search" in refused(here)
    here = place(
        tmp_path, study=STUDY.replace('"dropout", "weight_decay", "warmup", "placebo"', '"translate"')
    )
    assert "nothing is left to search" in refused(here)


def test_a_task_beside_the_study_file_is_found(tmp_path, monkeypatch):
    here = place(tmp_path / "deep")
    (tmp_path / "deep" / "tiny.toml").write_text(f'task = "tiny_task.py:task"\n{STUDY}')
    monkeypatch.chdir(tmp_path)
    opened = find("deep/tiny.toml", here.options())
    assert opened.task.source.endswith("deep/tiny_task.py:task")


def test_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = place(tmp_path).options()
    assert find("tiny_task.py:task", options).name == "tiny_task"
    (tmp_path / "ünicode täsk.py").write_text(TABULAR)
    for name in ("a b.toml", "../up.toml/..", ".toml", "con.toml", "x" * 70 + ".toml"):
        (tmp_path / name.replace("/", "_")).write_text(STUDY)
        with pytest.raises(InputError):
            find(name, options)
    with pytest.raises(InputError, match="cannot be a study's name"):
        find("ünicode täsk.py:task", options)
    (tmp_path / "plain.toml").write_text('task = "ünicode täsk.py:task"')
    assert find("plain.toml", options).name == "plain"


def test_the_model_is_looked_at_once(tmp_path):
    here = place(tmp_path)
    opened = find(str(tmp_path / "tiny.toml"), here.options())
    context = check_ready(opened, here.options(), ("search",))
    assert context is not None
    with session_of(opened, here.options(), None, context) as session:
        assert session.context.layer_infos is context.layer_infos
    assert check_ready(opened, here.options(), ("report",)) is None
