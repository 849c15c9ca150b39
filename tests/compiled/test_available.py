"""Where nothing can be compiled: said in one line, and never replaced in silence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ablate.catalogue.registry import registry
from ablate.kernels import compiled, lower
from ablate.lanes.autotune import Choice, Timing
from ablate.lanes.context import TaskContext
from ablate.records.errors import InputError
from ablate.records.recipe import Recipe
from ablate.study.kernel import choose, slower_because
from ablate.tasks.load import load

CPU = torch.device("cpu")


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine where llvmlite is not installed."""
    monkeypatch.setattr(compiled, "find_spec", lambda name: None)
    compiled.unavailable_reason.cache_clear()
    yield
    monkeypatch.undo()
    compiled.unavailable_reason.cache_clear()


def context() -> TaskContext:
    return TaskContext.of(load("breast-cancer"), registry(), CPU)


def test_it_is_the_usual_kernel_where_it_can_be_had() -> None:
    assert compiled.unavailable_reason() == ""
    assert context().kernel == "compiled"
    assert slower_because(context()) == slower_because(context().with_kernel("batched")) == ""
    assert lower.available_kernels(CPU) == tuple(lower.KERNELS)
    assert "compiled" not in lower.available_kernels(torch.device("cuda"))


def test_the_batched_kernel_stands_in_where_it_cannot(without: None) -> None:
    assert "pip install 'ablate[compiled]'" in compiled.unavailable_reason()
    assert context().kernel == "batched"
    assert lower.available_kernels(CPU) == ("batched", "vmap", "loop")
    assert "llvmlite" in slower_because(context())
    digits = load("digits")
    assert TaskContext.of(digits.but(batch_size=4 * digits.batch_size), registry(), CPU).kernel == "loop"


def test_asking_for_it_says_what_is_missing(
    without: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path))
    recipe = Recipe.of(registry(), {"momentum": {"lr": 0.1, "momentum": 0.9, "nesterov": False}})
    with pytest.raises(
        InputError, match="'compiled' is unavailable on this machine: llvmlite is not installed"
    ):
        choose(context(), recipe, kernel="compiled")
    begun = Choice("compiled", 7, "measured", (Timing("compiled", 7, 0.1, 10),)).to_json()
    with pytest.raises(InputError, match="llvmlite is not installed") as raised:
        choose(context(), recipe, begun=json.loads(json.dumps(begun)))
    assert "keeps its kernel" in str(raised.value)


def test_a_processor_without_fused_multiply_add_is_declined(monkeypatch: pytest.MonkeyPatch) -> None:
    from ablate.kernels.compiled import jit

    monkeypatch.setattr(jit, "has_fma", lambda: False)
    compiled.unavailable_reason.cache_clear()
    try:
        assert compiled.unavailable_reason() == "the processor has no fused multiply-add"
    finally:
        monkeypatch.undo()
        compiled.unavailable_reason.cache_clear()


def test_compiled_code_is_used_within_its_kernel_only() -> None:
    assert not compiled.is_enabled()
    with compiled.use_compiled({}):
        assert compiled.is_enabled()
        with compiled.use_compiled(None):
            assert not compiled.is_enabled()
        assert compiled.is_enabled()
    assert not compiled.is_enabled()
