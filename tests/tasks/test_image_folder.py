"""A folder of images as a task: classes from subfolders, splits from folders above them or dealt out."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from ablate.records.errors import InputError
from ablate.tasks.check import check
from ablate.tasks.load import load

COUNT = 10


def images(folder, size=(9, 7), count=COUNT, mode="RGB", suffix="png"):
    """`count` images `size` (width, height); the first pixel says which it is."""
    folder.mkdir(parents=True)
    for i in range(count):
        pixels = np.full((size[1], size[0], 3), 100 + i, np.uint8)
        pixels[0, 0] = i
        Image.fromarray(pixels).convert(mode).save(folder / f"{i}.{suffix}")


def test_classes_are_the_subfolders_and_splits_are_dealt_out(tmp_path):
    for label in ("cat", "dog"):
        images(tmp_path / "pets" / label)
    (tmp_path / "pets" / ".hidden").mkdir()
    task = load(f"{tmp_path}/pets/")
    assert (task.name, task.labels, task.kind, task.input_shape) == (
        "pets",
        ("cat", "dog"),
        "image",
        (3, 7, 9),
    )
    assert [split.y.bincount().tolist() for split in task.splits.values()] == [[6, 6], [2, 2], [2, 2]]
    assert task.random_split
    assert abs(task.train.x.mean().item()) < 1e-5
    assert task.train.x.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    shares = torch.cat([split.x[:, 0, 0, 0] for split in task.splits.values()])
    assert len(shares.unique()) == COUNT, "every image is in one split, once a class"
    assert all("also occur in" in note for note in check(task)), "cats and dogs are alike here"
    assert load(f"{tmp_path}/pets").data_sha256 == task.data_sha256


@pytest.mark.parametrize("folders", [("train", "val", "test"), ("train", "test"), ("train",)])
def test_splits_are_taken_where_folders_name_them(tmp_path, folders):
    for part in folders:
        for label in ("a", "b"):
            images(tmp_path / part / label)
    task = load(str(tmp_path))
    counts = {where: len(split) for where, split in task.splits.items()}
    named = {"train": "train", "val": "validation", "test": "test"}
    for part in folders[1:]:
        assert counts[named[part]] == 2 * COUNT
    assert sum(counts.values()) == 2 * COUNT * len(folders)
    assert not task.random_split


def test_images_of_several_sizes_and_modes_are_made_one_and_it_is_told(tmp_path):
    images(tmp_path / "a", (40, 50), mode="L", suffix="jpg")
    images(tmp_path / "b", (33, 20), mode="RGBA")
    task = load(str(tmp_path))
    assert task.input_shape == (3, 32, 32)
    assert task.notes[0] == "images of 2 sizes were made 32 × 32 pixels"
    with torch.no_grad():
        assert task.model()(task.train.x).shape == (12, 2)


def test_a_folder_that_cannot_be_used_is_told_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="holds no images in subfolders; give every class a subfolder"):
        load(str(tmp_path))
    images(tmp_path / "a")
    with pytest.raises(InputError, match="holds one class only, 'a'"):
        load(str(tmp_path))
    images(tmp_path / "b")
    for label in ("a", "b"):
        images(tmp_path / "few" / label, count=1)
    with pytest.raises(InputError, match="holds 2 images, too few to split; give more images"):
        load(str(tmp_path / "few"))
    shutil.rmtree(tmp_path / "few")
    for label in ("a", "b"):
        images(tmp_path / "parts" / "val" / label)
    (tmp_path / "parts" / "train").mkdir()
    with pytest.raises(InputError, match="parts/train holds no images; give every class a subfolder"):
        load(str(tmp_path / "parts"))
    shutil.rmtree(tmp_path / "parts")
    with monkeypatch.context() as patch:
        patch.setattr("ablate.tasks.image_folder.MOST", 1000)
        with pytest.raises(InputError, match="holds 20 images, more than are held in memory; write a task"):
            load(str(tmp_path))
    whole = (tmp_path / "b" / "3.png").read_bytes()
    (tmp_path / "b" / "3.png").write_bytes(whole[:50])  # the head says its size
    with pytest.raises(InputError, match=r"b/3\.png cannot be read as an image; remove it, or save it again"):
        load(str(tmp_path))
    (tmp_path / "b" / "3.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"b/3\.png cannot be read as an image; remove it"):
        load(str(tmp_path))
    (tmp_path / "b" / "5.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"b/3\.png cannot be read as an image \(2 of 20 images\)"):
        load(str(tmp_path))
