"""A task made from a folder of images, one subfolder per class: `ablate study images/`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ablate.records.errors import InputError
from ablate.tasks.models import convnet
from ablate.tasks.split import random_parts
from ablate.tasks.task import Task

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
FIFTHS = "TVSTT"
SIDE = 32
"""Images that are larger, or of several sizes, are resized to squares of this side in pixels."""
MOST = 2 << 30
"""Largest size in bytes of all images as float32, which are held in memory."""
WIDTHS = (16, 32, 32)


def image_task(name: str) -> Task:
    """The task of classifying the images in the folder `name`.

    Subfolders "train", "validation" (or "val") and "test", each with a subfolder for every class, are used as these
    splits; otherwise the classes are the folder's own subfolders, of whose images three fifths are for training. Raises
    InputError: no folder, fewer than two classes, an image that cannot be read, more data than the memory limit.
    """
    folder = Path(name)
    files = _files(folder)
    names = sorted({label for _, label, _ in files})
    if len(names) < 2:
        content = f"one class only, '{names[0]}'" if names else "no images in subfolders"
        raise InputError(f"{folder} holds {content}", hint="give every class a subfolder of its images")
    sizes = _sizes([path for path, _, _ in files])
    largest = max(sizes)
    side = None if len(sizes) == 1 and max(largest) <= SIDE else (SIDE, SIDE)
    width, height = side or largest
    if len(files) * 3 * width * height * 4 > MOST:
        raise InputError(f"{folder} holds {len(files)} images, more than are held in memory", hint="write a task with a Dataset")  # fmt: skip
    y = np.array([names.index(label) for _, label, _ in files], dtype=np.int64)
    given = np.array([split for _, _, split in files])
    rows = _rows(given, y)
    if not len(rows["T"]):
        raise InputError(
            f"{folder / 'train'} holds no images", hint="give every class a subfolder of its images"
        )
    if not all(map(len, rows.values())):
        raise InputError(f"{folder} holds {len(files)} images, too few to split", hint="give more images")
    pixels = np.stack([_pixels(path, side) for path, _, _ in files])
    mean = pixels[rows["T"]].mean((0, 2, 3), keepdims=True, dtype=np.float64)
    deviation = pixels[rows["T"]].std((0, 2, 3), keepdims=True, dtype=np.float64)
    x = torch.from_numpy(pixels.astype(np.float32))
    x.sub_(torch.from_numpy(mean)).div_(torch.from_numpy(np.where(deviation > 0, deviation, 1)))
    train, validation, test = ((x[torch.from_numpy(rows[part])], y[rows[part]]) for part in "TVS")
    notes = [
        f"pixels are scaled to mean 0 and deviation 1 by training data, in each of {pixels.shape[1]} channels"
    ]
    if side:
        notes.insert(0, f"images of {len(sizes)} sizes were made {width} × {height} pixels")
    pools = max(0, min(2, min(width, height).bit_length() - 3))
    return Task(
        partial(convnet, (pixels.shape[1], height, width), WIDTHS, pools, len(names)), train, validation, test,
        kind="image", name=re.sub(r"[^\w.-]+", "-", folder.resolve().name), title=f"images of {folder.resolve().name}", labels=tuple(names),
        notes=tuple(notes), source=name, source_sha256=_sha256(files), random_split=not given.any(),
    )  # fmt: skip


def _files(folder: Path) -> list[tuple[Path, str, str]]:
    """(file, class, letter of the split or "") of every image, in order."""
    named = {"train": "T", "validation": "V", "val": "V", "test": "S"}
    parts = {part: letter for part, letter in named.items() if (folder / part).is_dir()}
    roots = (
        [(folder / part, letter) for part, letter in parts.items()] if "train" in parts else [(folder, "")]
    )
    return [
        (file, label.name, letter)
        for root, letter in roots
        for label in sorted(root.iterdir())
        if label.is_dir() and not label.name.startswith(".")
        for file in sorted(label.rglob("*"))
        if file.suffix.lower() in SUFFIXES
    ]


def _rows(given: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Rows of each split: those that the folders name; missing ones are taken from training, stratified."""
    if not given.any():
        return random_parts(len(y), FIFTHS, y)
    rows = {letter: np.flatnonzero(given == letter) for letter in {"T", *given.tolist()}}
    missing = "".join(letter for letter in "VS" if letter not in rows)
    if missing:
        pool = rows["T"]
        parts = random_parts(len(pool), ("T" + missing).ljust(5, "T"), y[pool])
        rows |= {letter: pool[part] for letter, part in parts.items()}
    return rows


def _sizes(files: Sequence[Path]) -> set[tuple[int, int]]:
    """(width, height) of the images. Raises InputError that counts those that cannot be read."""
    from PIL import Image

    sizes, unreadable = set(), []
    for path in files:
        try:
            with Image.open(path) as image:
                sizes.add(image.size)
        except OSError:  # of Pillow: UnidentifiedImageError is one
            unreadable.append(path)
    if unreadable:
        number = f" ({len(unreadable)} of {len(files)} images)" if len(unreadable) > 1 else ""
        raise InputError(
            f"{unreadable[0]} cannot be read as an image{number}", hint="remove it, or save it again"
        )
    return sizes


def _pixels(path: Path, side: tuple[int, int] | None) -> np.ndarray:
    """uint8 `[3, H, W]`, in red, green and blue."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            plain = image.convert("RGB")
        return np.asarray(plain.resize(side, Image.Resampling.BILINEAR) if side else plain).transpose(2, 0, 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read as an image", hint="remove it, or save it again") from error


def _sha256(files: list[tuple[Path, str, str]]) -> str:
    """Hash of the images' names and sizes in bytes, by which a worker checks that it reads the same folder."""
    lines = [f"{path.parent.name}/{path.name} {path.stat().st_size}" for path, _, _ in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
