"""Many small cases in one test: what `pytest.mark.parametrize` would make thousands of tests of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from inspect import signature
from typing import Any

import pytest


def sweep(names: str, cases: Iterable[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`pytest.mark.parametrize` within one test, for cases whose ids carry no meaning (seeds, steps, files).

    Every case runs, whatever the others do; the failures are raised together as an `ExceptionGroup`, each with a note
    that names its case. Fixtures are shared by the cases. A case must not skip: that would skip all of them.
    """
    parameters = tuple(name.strip() for name in names.split(","))
    rows = [case if len(parameters) > 1 else (case,) for case in cases]

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @wraps(test)
        def every_case(**fixtures: Any) -> None:
            failures: list[Exception] = []
            for row in rows:
                case = dict(zip(parameters, row, strict=True))
                try:
                    test(**case, **fixtures)
                except pytest.skip.Exception as skipped:
                    raise RuntimeError(f"a case of a sweep must not skip: {case}") from skipped
                except Exception as error:  # noqa: BLE001 - raised below, with those of the other cases
                    error.add_note(f"case: {case}")
                    failures.append(error)
            if failures:
                raise ExceptionGroup(
                    f"{len(failures)} of {len(rows)} cases of {test.__name__} failed", failures
                )

        plain = signature(test)
        left = [parameter for name, parameter in plain.parameters.items() if name not in parameters]
        every_case.__signature__ = plain.replace(parameters=left)  # type: ignore[attr-defined]
        return every_case

    return decorate


def diagonal(rows: Sequence[Any], columns: Sequence[Any], first: int) -> list[Any]:
    """The product of two lists for `parametrize`: each row with one column, the next one each time; `make validate` runs the others.

    `first`: the column of the first row. Tests of related things take different ones, so that together they meet all pairs.
    """
    return [
        pytest.param(row, column, marks=[pytest.mark.slow_oracle] if (j - i - first) % len(columns) else [])
        for i, row in enumerate(rows)
        for j, column in enumerate(columns)
    ]
