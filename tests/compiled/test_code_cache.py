"""TargetCPU code that is kept: loaded as it was made, and made anew where a file cannot be believed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from compiled_cases import FUNCTIONS, run, vectors_of

from ablate.kernels.compiled import code_cache, jit, linear, relu


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is made (not loaded) from here on; the cache folder is empty and nothing is known in the process."""
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path / "cache"))
    names: list[str] = []
    compile_module = jit.compile_module

    def noted(module, *shape: int) -> jit.Function:
        names.append("made")
        return compile_module(module, *shape)

    monkeypatch.setattr("ablate.kernels.compiled.ir_builder.compile_module", noted)
    forget()
    yield names
    monkeypatch.undo()
    forget()


def forget() -> None:
    """As a new process."""
    code_cache._folder.cache_clear()
    code_cache._environment.cache_clear()
    for function in FUNCTIONS:
        function.cache_clear()


def product() -> torch.Tensor:
    """A small linear layer by compiled code."""
    function, numbers = linear.forward(3, 2)
    x, weight, bias = torch.arange(6.0).view(1, 2, 3), torch.arange(6.0).view(1, 2, 3), torch.ones(1, 2)
    y = torch.empty(1, 2, 2)
    run(function, (x, weight, bias, y, torch.empty(numbers)), (1, 2))
    return y


RIGHT = torch.tensor([[[6.0, 15.0], [15.0, 51.0]]])


def files(folder: Path) -> list[Path]:
    return sorted((folder / "cache" / "code").iterdir())


def test_a_second_process_loads_what_the_first_one_made(made: list[str], tmp_path: Path) -> None:
    assert torch.equal(product(), RIGHT)
    assert len(made) == len(files(tmp_path)) == 1
    forget()
    assert torch.equal(product(), RIGHT)
    assert len(made) == 1
    x, y = torch.tensor([[-1.0, 2.0]]), torch.empty(1, 2)
    run(relu.leaky_relu(backward=False), (x, torch.zeros(1), y), (1, 2))  # a function that needs no room
    forget()
    run(relu.leaky_relu(backward=False), (x, torch.zeros(1), y), (1, 2))
    assert y.tolist() == [[0, 2]]
    assert len(made) == 2


def test_another_width_other_arguments_and_another_text_are_other_code(
    made: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linear.forward(3, 2)
    linear.forward(2, 3)
    for width in (8, 16):
        with vectors_of(width):
            linear.forward(3, 2)
    there = len(made)
    assert there == len(files(tmp_path)) == 3  # one of the widths is the processor's own
    forget()
    monkeypatch.setattr(code_cache, "_environment", lambda: ("another version of the text",))
    linear.forward(3, 2)
    assert len(made) == there + 1


def test_a_torn_or_changed_file_is_never_run(made: list[str], tmp_path: Path) -> None:
    product()
    (file,) = files(tmp_path)
    whole = file.read_bytes()
    broken = [
        whole[:length] for length in (0, 1, 40, whole.index(b"\n"), whole.index(b"\n") + 1, len(whole) - 1)
    ]
    for at in range(whole.index(b"\n") + 1, len(whole), 97):
        broken.append(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    for count, text in enumerate(broken, start=2):
        file.write_bytes(text)
        forget()
        assert torch.equal(product(), RIGHT)
        assert len(made) == count, "made anew"
        assert file.read_bytes() == whole, "and kept again"


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_could_have_written_is_not_run(made: list[str], tmp_path: Path, mode: int) -> None:
    product()
    (file,) = files(tmp_path)
    file.chmod(mode)
    forget()
    assert torch.equal(product(), RIGHT)
    assert len(made) == 2


def test_a_link_is_not_followed(made: list[str], tmp_path: Path) -> None:
    product()
    (file,) = files(tmp_path)
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    forget()
    product()
    assert len(made) == 2


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_folder_that_others_may_write_to_is_left_alone(made: list[str], tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "cache" / "code"
    folder.mkdir(parents=True)
    folder.chmod(mode)
    for _ in range(2):
        assert torch.equal(product(), RIGHT)
        forget()
    assert len(made) == 2
    assert not files(tmp_path)


def test_without_a_folder_code_is_made_every_time(
    made: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").touch()
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path / "a file"))
    for _ in range(2):
        assert torch.equal(product(), RIGHT)
        forget()
    assert len(made) == 2


def test_what_is_kept_is_nobody_elses(made: list[str], tmp_path: Path) -> None:
    product()
    (file,) = files(tmp_path)
    assert file.stat().st_mode & 0o077 == 0
    assert file.stat().st_uid == os.getuid()
    assert file.parent.stat().st_mode & 0o077 == 0
