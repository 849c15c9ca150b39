"""The file of a trained model: tensors and one note about their run as safetensors, with a SHA-256 over both.

The digest tells damage (a flipped bit in a weight is another model), not forgery: who can write the file can write its digest.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from ablate.records.errors import InputError
from ablate.records.files import write_bytes
from ablate.records.forms import Each, mismatch

FORMAT = 3
WITHOUT_DIGEST = 2
"""The earlier format, which is read with a warning."""
NOTE, DIGEST = "ablate", "sha256"
FIELDS: dict[str, Any] = {
    "task": str,
    "source_sha256": str,
    "recipe": Each(object),
    "seed": int,
    "epochs": int,
}


@dataclass(frozen=True)
class Note:
    """What a file says about its run. `recipe` is not checked against a catalogue."""

    task: str
    source_sha256: str
    recipe: dict[str, Any]
    seed: int
    epochs: int


def write(path: Path, tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> None:
    """Write `tensors` with `note` (the fields of `Note`, and more); atomic. Raises InputError."""
    write_bytes(path, sealed(tensors, json.dumps({"format": FORMAT, **note}, sort_keys=True)))


def sealed(tensors: Mapping[str, Tensor], note: str) -> bytes:
    """The file as bytes, with the digest of `tensors` and `note`."""
    metadata = {"format": "pt", NOTE: note}
    return bytes(to_safetensors(dict(tensors), {**metadata, DIGEST: digest(tensors, metadata)}))


def digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 of the metadata and of each tensor's name, type, shape and bytes."""
    heads = [[name, str(tensors[name].dtype), list(tensors[name].shape)] for name in sorted(tensors)]
    whole = sha256(json.dumps([dict(metadata), heads], sort_keys=True).encode())
    for name in sorted(tensors):
        whole.update(tensors[name].detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return whole.hexdigest()


def read(path: Path) -> tuple[dict[str, Tensor], Note]:
    """The tensors and the note. Raises InputError for a file that is none of ablate's, that is damaged, or of another format;
    warns of one that has no digest, as an earlier version wrote it."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (OSError, SafetensorError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as safetensors ({' '.join(str(error).split())})") from error
    written = metadata.pop(DIGEST, None)
    if written is not None and written != digest(tensors, metadata):
        raise InputError(
            f"{path} is damaged: its content does not match its SHA-256",
            hint="take another copy, or train again",
        )
    note = _note(metadata.get(NOTE), path)
    if written is None:
        _without_digest(note, path)
    return tensors, Note(*(note[name] for name in FIELDS))


def _note(text: str | None, path: Path) -> dict[str, Any]:
    """The note, with the fields of `Note` in their types. Raises InputError."""
    hint = "give a file that `ablate train` wrote"
    try:
        note = json.loads(text or "")
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} does not say what it is of", hint=hint) from error
    if isinstance(note, dict) and note.get("format", FORMAT) not in (FORMAT, WITHOUT_DIGEST):
        raise InputError(f"{path} is of format {str(note['format'])[:40]}, this is {FORMAT}")
    if what := mismatch(note, {"format": int, **FIELDS}, "its note"):
        raise InputError(f"{path} does not say what it is of: {what}", hint=hint)
    if note["seed"] < 0 or note["epochs"] < 1:
        raise InputError(f"{path} does not say what it is of: no run has its seed or epochs", hint=hint)
    return dict(note)


def _without_digest(note: Mapping[str, Any], path: Path) -> None:
    """Warn of a file of the earlier format. Raises InputError for a later one that has lost its digest."""
    if note["format"] == FORMAT:
        raise InputError(
            f"{path} is damaged: its SHA-256 is missing", hint="take another copy, or train again"
        )
    warnings.warn(
        f"{path} was written by an earlier version, without a digest: damage to it would not be noticed",
        stacklevel=4,
    )
