"""From tensors, arrays, frames and map-style Datasets to plain CPU tensors."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import torch
from torch import Tensor

from ablate.records.errors import InputError
from ablate.tasks.item_reader import Reader
from ablate.tasks.items import Items, Survey, read, variation
from ablate.tasks.memory_limit import check_bytes
from ablate.tasks.packing import Packing, is_nested, pack
from ablate.tasks.split import Split
from ablate.tasks.streamed import Inputs, Streamed

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("train", "validation", "test")
PAIR = "give a pair (x, y) of tensors, arrays or frames, or a torch Dataset"


def is_frame(data: Any) -> TypeGuard[pd.DataFrame]:
    """Whether `data` is a pandas frame. If pandas is not imported, nothing is; importing it takes 0.3 s."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(data, pandas.DataFrame)


def is_series(data: Any) -> TypeGuard[pd.Series]:
    """Whether `data` is a pandas column."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(data, pandas.Series)


def pair(data: Any, where: str) -> tuple[Any, Any]:
    """`data` as (x, y), in their original forms. `where` is the split's name, for messages."""
    if isinstance(data, Split):
        return data.x, data.y  # nested inputs are packed already
    if isinstance(data, Reader):
        return read(data)
    if isinstance(data, tuple | list) and len(data) == 2:
        return data[0], data[1]
    if is_frame(data):
        hint = "give the pair (frame[features], frame[target]), or ablate.Task.from_table(frame, target)"
        raise InputError(f"{where} is one frame, and nothing says which column is the target", hint=hint)
    if isinstance(data, Mapping) and "train" in data:
        hint = f"give its splits, {', '.join(f'{key}=data[{key!r}]' for key in data if key in SPLITS)}"
        raise InputError(f"{where} is a {type(data).__name__} of {', '.join(map(repr, data))}", hint=hint)
    raise InputError(f"{where} must be a pair (x, y), not {_what(data)}", hint=PAIR)


def inputs(x: Any, where: str, text: bool) -> Tensor:
    """`x` as a contiguous float32 tensor `[N, ...]` (int64 for token ids)."""
    _named_columns(x, where)
    values = tensor(x, f"{where} x")
    if values.ndim < 2:
        raise InputError(
            f"{where} x has shape {list(values.shape)}",
            hint="examples need a shape: [N, features], [N, C, H, W]",
        )
    if text and values.is_floating_point():
        raise InputError(
            f"{where} x holds {values.dtype}, but token ids are whole numbers", hint="give int64"
        )
    dtype = torch.int64 if text else torch.float32
    if values.dtype != dtype:
        shape = f"{len(values)} examples of shape {list(values.shape[1:])}"
        check_bytes(
            values.numel() * dtype.itemsize, f"{where} x: {shape}, as {str(dtype).removeprefix('torch.')},"
        )
    return values.to(dtype).contiguous()


def _named_columns(x: Any, where: str) -> None:
    """Raise InputError naming the column of a frame that cannot be used."""
    if not is_frame(x):
        return
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    for name in x.columns:
        column = x[name]
        if not (is_numeric_dtype(column) or is_bool_dtype(column)):
            hint = "encode it first, by ablate.Task.from_table(frame, target) or pandas.get_dummies"
            raise InputError(f"{where}: column '{name}' holds {column.dtype}, not numbers", hint=hint)
        if missing := int(column.isna().sum()):
            hint = (
                "fill them or drop the rows first; ablate.Task.from_table(frame, target) fills and marks them"
            )
            raise InputError(f"{where}: column '{name}' has {missing} missing values", hint=hint)


def is_text(y: Any) -> bool:
    """Whether targets are names of classes."""
    if isinstance(y, Tensor):
        return False
    array = _plain(y)
    return array.ndim == 1 and array.dtype.kind in "OUST"


def targets(ys: Mapping[str, Any], criterion: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The splits' targets as tensors, and the classes' names if labels were text.

    Classification: int64 `[N]`; text is numbered by the sorted names in the training data. Regression:
    float32 `[N, D]`.
    """
    if criterion == "regression":
        return {where: _numbers(y, where) for where, y in ys.items()}, ()
    arrays = {where: _array(y, where) for where, y in ys.items()}
    if arrays["train"].dtype.kind not in "OUST":
        return {where: _labels(array, where) for where, array in arrays.items()}, ()
    from pandas import isna

    for where, array in arrays.items():
        if gaps := int(isna(array).sum()):
            raise InputError(f"{where} y has {gaps} missing labels", hint="drop those examples")
    names = sorted({str(label) for label in arrays["train"]})
    return {where: _coded(array, where, names) for where, array in arrays.items()}, tuple(names)


def _coded(array: np.ndarray, where: str, names: Sequence[str]) -> Tensor:
    number = {label: index for index, label in enumerate(names)}
    if strangers := sorted({str(label) for label in array} - set(number)):
        raise InputError(f"{where} has the label '{strangers[0]}', which does not occur in training data")
    return torch.tensor([number[str(label)] for label in array], dtype=torch.int64)


def examples(
    source: Any,
    where: str,
    first: tuple[Any, Any],
    labels: tuple[str, ...],
    convert: Callable[[Any], Tensor],
    *,
    text: bool,
) -> tuple[Inputs, Packing | None, Items | None]:
    """(inputs, how nested ones are packed, the items where they are read again), of the result of `pair` for `source`."""
    x = first[0]
    head = x.head if isinstance(x, Survey) else x
    in_memory, packing = pack(head, where, tensor) if is_nested(head) else (inputs(head, where, text), None)
    if not isinstance(source, Reader):
        return in_memory, packing, None
    varies, exact = variation(source, first)
    prepare = partial(prepared, where=where, labels=labels, convert=convert, text=text)
    items = Items(source, prepare, varies, exact)
    if isinstance(x, Survey):
        return Streamed(items, np.arange(len(x.keys)), in_memory, x.keys, x.broken), packing, items
    return in_memory, packing, items if varies else None


def prepared(
    x: Any,
    y: np.ndarray,
    *,
    where: str,
    labels: tuple[str, ...],
    convert: Callable[[Any], Tensor],
    text: bool,
) -> tuple[Tensor, Tensor]:
    """Items as they were read as the tensors of a Split; text labels are numbered as in `labels`. `convert`: y -> a tensor."""
    x = pack(x, where, tensor)[0] if is_nested(x) else inputs(x, where, text)
    return x, _coded(_array(y, where), where, labels) if labels else convert(y)


def _numbers(y: Any, where: str) -> Tensor:
    values = tensor(y, f"{where} y").to(torch.float32)
    if values.ndim not in (1, 2):
        raise InputError(f"{where} y has shape {list(values.shape)}", hint="regression takes [N] or [N, D]")
    return values.reshape(len(values), -1).contiguous()


def _labels(array: np.ndarray, where: str) -> Tensor:
    if array.dtype.kind == "f" and not (np.isfinite(array) & (array == np.round(array))).all():
        bad = array[~(np.isfinite(array) & (array == np.round(array)))][0]
        hint = 'labels are 0 … classes-1; for numbers use criterion="regression"'
        raise InputError(f"{where} y holds {bad:g}, which is no whole number", hint=hint)
    if array.dtype.kind not in "fiub":
        raise InputError(
            f"{where} y holds {array.dtype}", hint="labels are whole numbers 0 … classes-1, or text"
        )
    labels = torch.from_numpy(array.astype(np.int64))
    if len(labels) and int(labels.min()) < 0:
        hint = "number the classes 0 … classes-1"
        raise InputError(f"{where} y holds the label {int(labels.min())}", hint=hint)
    return labels


def _array(y: Any, where: str) -> np.ndarray:
    array = y.detach().cpu().numpy() if isinstance(y, Tensor) else _plain(y)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        hint = f"classification takes one label for each example, [N]; {_other_form(array)}"
        raise InputError(f"{where} y has shape {list(array.shape)}", hint=hint)
    return array


def _other_form(array: np.ndarray) -> str:
    """The probable meaning of targets with several dimensions, as a hint."""
    if array.ndim == 2 and array.dtype.kind in "fiub":
        if not np.isin(array, (0, 1)).all():
            return 'for a class of every token, criterion="token_classification" or "language_modelling"'
        if not (array.sum(1) == 1).all():
            return 'for several labels of an example, criterion="multilabel"'
    if array.ndim == 3:
        return 'for a class of every pixel, criterion="segmentation"'
    return "from one-hot, y.argmax(1)"


def _plain(values: Any) -> np.ndarray:
    """The values as an array; columns of several types, and pandas' nullable numbers, become float64 with NaN for missing values."""
    if is_frame(values) or is_series(values):
        from pandas.api.types import is_extension_array_dtype, is_numeric_dtype

        kinds = list(values.dtypes) if is_frame(values) else [values.dtype]
        mixed = len(set(kinds)) > 1 or any(is_extension_array_dtype(kind) for kind in kinds)
        if mixed and all(is_numeric_dtype(kind) for kind in kinds):
            return values.to_numpy(dtype=np.float64, na_value=np.nan)
    try:
        return np.asarray(values)
    except ValueError as error:  # of lists that differ in length
        text = " ".join(str(error).split())[:120]
        raise InputError(
            f"{type(values).__name__} cannot be an array ({text})", hint="pad all examples to one length"
        ) from error


def tensor(values: Any, where: str) -> Tensor:
    """`values` as a tensor on the CPU: float64 or float32, bool, or integers as int64. `where`: for an error."""
    if isinstance(values, Tensor):
        if values.is_complex():
            raise InputError(f"{where} holds complex numbers", hint="give real numbers")
        return values.detach().cpu()
    array = _plain(values)
    if array.dtype.kind not in "fiub":
        text = "encode text as numbers first (a tokenizer's ids, say), or leave it out of the items"
        of_items = where.endswith("]")  # a part of nested inputs
        hint = text if of_items and array.dtype.kind in "OUST" else PAIR
        raise InputError(f"{where} holds {array.dtype}, not numbers", hint=hint)
    if array.dtype not in (np.float32, np.bool_):
        array = array.astype(np.int64 if array.dtype.kind in "iu" else np.float64)
    return torch.from_numpy(np.array(array))


def _what(value: Any) -> str:
    return f"a {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, tuple | list) else "")
