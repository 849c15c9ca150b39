"""Padding of token ids: items of different lengths that say by an attention mask which positions count, as tokenizers of transformers do.

All items are brought to the length of the longest one of all splits, once and for all: what a model with a mask returns for an item does
not depend on how far it is padded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn.functional import pad

from ablate.tasks.item_reader import Reader, Values
from ablate.tasks.packing import Path

MASK: Path = ("x", "attention_mask")
IDS: Path = ("x", "input_ids")
IGNORED = -100
"""The class of tokens that do not count."""
COLLATORS = ("DataCollatorWithPadding", "DataCollatorForTokenClassification")
"""Collate functions of transformers that do nothing but this."""


@dataclass(frozen=True)
class Padding:
    """`paths`: the vectors with an entry for each token, brought to `length`. `token`: the id that is put in. `left`: before the others."""

    length: int
    paths: frozenset[Path]
    token: int = 0
    left: bool = False

    def __call__(self, values: Values) -> Values:
        """An item's tensors with those of `paths` padded: ids with `token`, classes of tokens with -100, others with 0."""
        return {path: self._padded(path, value) for path, value in values.items()}

    def _padded(self, path: Path, value: Tensor | np.ndarray) -> Tensor | np.ndarray:
        if (
            path not in self.paths
            or not isinstance(value, Tensor)
            or (missing := self.length - len(value)) <= 0
        ):
            return value
        filling = IGNORED if path[0] == "y" else self.token if path == IDS else 0
        return pad(value, (missing, 0) if self.left else (0, missing), value=filling)

    @property
    def note(self) -> str:
        """What is done, for the user."""
        names = ", ".join(sorted(str(path[-1]) if path[0] == "x" else "labels" for path in self.paths))
        side = "left" if self.left else "right"
        return (
            f"items of different lengths are padded on the {side} to the longest, {self.length} ({names}): ids with {self.token}, "
            'masked by attention_mask; a tokenizer with padding="max_length" does it otherwise'
        )


def padded(readers: dict[str, Any], collator: Any = None) -> tuple[dict[str, Any], list[str]]:
    """(`readers` whose items are brought to one length, a note), or the same and nothing where that is not needed. Reads all items once
    if the first has an attention mask. `collator`: the user's, one of `COLLATORS`."""
    mapped = {where: one for where, one in readers.items() if isinstance(one, Reader)}
    if not mapped or not any(_is_masked(one) for one in mapped.values()):
        return readers, []
    longest, shortest = 0, None
    paths: set[Path] | None = None
    for reader in mapped.values():
        for _, values in reader.items():
            if MASK not in values or values[MASK].ndim != 1:
                return readers, []
            length = len(values[MASK])
            longest, shortest = max(longest, length), min(length, shortest or length)
            here = {path for path, value in values.items() if _is_of_tokens(value, length)}
            paths = here if paths is None else paths & here
    if longest == shortest or not paths:
        return readers, []
    tokenizer = getattr(collator, "tokenizer", None)
    padding = Padding(
        longest, frozenset(paths), int(getattr(tokenizer, "pad_token_id", None) or 0),
        getattr(tokenizer, "padding_side", "right") == "left",
    )  # fmt: skip
    return readers | {where: replace(one, padding=padding) for where, one in mapped.items()}, [padding.note]


def _is_masked(reader: Reader) -> bool:
    for _, item in reader.items(None if reader.streams else range(min(1, reader.count() or 0))):
        return MASK in item and item[MASK].ndim == 1
    return False


def _is_of_tokens(value: Tensor | np.ndarray, length: int) -> bool:
    """Whether an entry has a whole number for each token."""
    return isinstance(value, Tensor) and value.shape == (length,) and not value.is_floating_point()


def pads_only(collate: Any) -> bool:
    """Whether a collate function is one of transformers' that pad token ids."""
    kind = type(collate)
    return kind.__name__ in COLLATORS and kind.__module__.partition(".")[0] == "transformers"
