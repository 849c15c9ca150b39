"""DataLoaders and objects indexed like a Dataset as sources: the data set is used, and notes say what is ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler, SequentialSampler, default_collate

from ablate.records.errors import InputError
from ablate.tasks.item_reader import LABELS, Reader
from ablate.tasks.padding import padded, pads_only


def batch_size_of(source: Any) -> int | None:
    """A DataLoader's batch size, if `source` is one that makes batches."""
    return source.batch_size if isinstance(source, DataLoader) else None


def unwrapped(given: dict[str, Any], workers: int | None = None) -> tuple[dict[str, Any], list[str]]:
    """(`given` with Datasets and DataLoaders replaced by readers of their items, notes on what is ignored). Raises InputError.

    workers: processes that read; None: a DataLoader's own, else none.
    """
    datasets: dict[str, Any] = {}
    notes: list[str] = []
    collator = None
    for where, source in given.items():
        if isinstance(source, DataLoader):
            notes.append(_note(where, source))
            collator = source.collate_fn if where == "train" and pads_only(source.collate_fn) else collator
            data = source.dataset if isinstance(source.dataset, Dataset) else Indexed(source.dataset)
            datasets[where] = Reader(data, where, source.num_workers if workers is None else workers)
        elif isinstance(source, Dataset) or is_indexed(source):
            data = source if isinstance(source, Dataset) else Indexed(source)
            datasets[where] = Reader(data, where, workers or 0)
        else:
            datasets[where] = source
    datasets, padding_note = padded(datasets, collator)
    return datasets, [*notes, *padding_note]


class Indexed(Dataset[Any]):
    """Items by index of an object that is used as a Dataset without being one: of Hugging Face's `datasets`, or a list."""

    def __init__(self, items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> Any:
        return self.items[row]


def class_names(source: Any) -> tuple[str, ...]:
    """The names of the classes of a data set of Hugging Face's whose target is a `ClassLabel`; of anything else none."""
    dataset = source.dataset if isinstance(source, Reader) else None
    features = getattr(dataset.items if isinstance(dataset, Indexed) else dataset, "features", None)
    if not isinstance(features, Mapping):
        return ()
    target = next((features[name] for name in LABELS if name in features), None)
    names = getattr(target, "names", None)
    return tuple(map(str, names)) if isinstance(names, Sequence) else ()


def is_indexed(source: Any) -> bool:
    """Whether `source` has items by index and is neither a pair, an array nor a frame."""
    kind = type(source)
    if isinstance(source, Dataset | Mapping | Sequence | Tensor) or hasattr(source, "__array__"):
        return False
    return hasattr(kind, "__getitem__") and hasattr(kind, "__len__")


def _note(where: str, loader: DataLoader[Any]) -> str:
    usual = loader.collate_fn is default_collate or pads_only(loader.collate_fn)
    if not usual and loader.batch_size is not None:
        name = getattr(loader.collate_fn, "__name__", type(loader.collate_fn).__name__)
        raise InputError(
            f"{where} is a DataLoader with a collate function of its own, '{name}'",
            hint="give the Dataset, and let its items have what that function does (padding to one length, say)",
        )
    ignored = ["shuffle" if isinstance(loader.sampler, RandomSampler) else ""]
    if (
        not isinstance(loader.sampler, RandomSampler | SequentialSampler)
        and type(loader.sampler).__name__ != "_InfiniteConstantSampler"
    ):
        ignored = [f"sampler {type(loader.sampler).__name__}"]
    ignored += ["drop_last"] if loader.drop_last else []
    listed = ", ".join(filter(None, ignored))
    used = [f"batch size {loader.batch_size}"] if where == "train" and loader.batch_size else []
    used += [f"{loader.num_workers} workers"] if loader.num_workers else []
    size = f", its {' and its '.join(used)}" if used else ""
    ending = f"; not used: {listed} (each run draws its own order)" if listed else ""
    return f"of the {where} DataLoader its data set is used{size}{ending}"
