"""Every built-in task: the card tells the truth, the data are scaled, nothing leaks from training to the rest."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.datasets
import torch

from ablate.records.errors import InputError
from ablate.tasks.builtin import BUILDERS, builtin
from ablate.tasks.check import check
from ablate.tasks.load import load
from ablate.tasks.tabular import encode
from ablate.tasks.task_cards import CARDS, DATA, FETCH

HERE = [name for name, card in CARDS.items() if not card.needs]
ELSEWHERE = [name for name, card in CARDS.items() if card.needs]
SIZES = {
    "digits": (1076, 362, 359),
    "digits-longtail": (369, 362, 359),
    "breast-cancer": (341, 115, 113),
    "wine": (106, 36, 36),
    "diabetes": (265, 89, 88),
    "digit-scenes": (1024, 128, 128),
    "ring-gan": (2048, 512, 512),
    "digits-gan": (1076, 362, 359),
    "mnist": (49998, 10002, 10000),
    "fashion-mnist": (50000, 10000, 10000),
    "cifar10-4k": (2398, 802, 800),
    "mammography": (6709, 2237, 2237),
    "adult": (26049, 6512, 16281),
    "california-housing": (12384, 4128, 4128),
    "sst2": (6920, 872, 1821),
    "sst2-transformer": (6920, 872, 1821),
    "trec": (4541, 911, 500),
    "trec-transformer": (4541, 911, 500),
}


def loaded(name):
    if missing := CARDS[name].missing():
        pytest.skip(f"{missing[0]} is not under ${DATA}")
    return load(name)


@pytest.mark.parametrize("name", CARDS)
def test_the_card_tells_the_truth_and_the_task_can_be_trained(name):
    task, card = loaded(name), CARDS[name]
    assert (task.name, task.title, task.criterion, task.kind, task.metric, task.source) == (
        card.name, card.title, card.criterion, card.kind, card.metric, card.name,
    )  # fmt: skip
    assert tuple(len(split) for split in task.splits.values()) == SIZES[name]
    for note in check(task):
        assert "also occur in" in note
    if card.kind == "image":
        check_images(task.train.x.double())
    elif card.kind == "tabular":
        check_columns(task.train.x.double())
    if task.criterion == "detection":
        assert task.train.y.shape[1:] == (3, 5)
    elif task.criterion == "adversarial":
        assert (
            task.train.x.shape[1] > task.train.y.shape[1]
        )  # the latent vectors stand beside the real examples
    elif task.classes is None:
        assert abs(task.train.y.double().mean().item()) < 1e-6
        assert abs(task.train.y.double().std(correction=0).item() - 1) < 1e-6
    elif name != "digits-longtail":
        share = [split.y.bincount() / len(split) for split in task.splits.values()]
        assert (share[0] - share[1]).abs().max() < 0.02


def check_images(x):
    """Scaled by the training data, channel by channel."""
    assert x.mean((0, 2, 3)).abs().max() < 1e-4
    assert (x.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-4


def check_columns(x):
    """Scaled, or zero and one."""
    flags = ((x == 0) | (x == 1)).all(0)
    scaled = x[:, ~flags]
    assert scaled.mean(0).abs().max() < 1e-5
    assert (scaled.std(0, correction=0) - 1).abs().max() < 1e-5


def test_the_pixels_are_those_of_the_file():
    task = loaded("mnist")
    with np.load(Path(os.environ[DATA]) / "mnist.npz") as archive:
        test, y_test, train = archive["x_test"], archive["y_test"], archive["x_train"]
    assert task.test.y.tolist() == y_test.tolist()
    ours = task.test.x[:100, 0].double().numpy()
    mean, deviation = float(task.notes[0].split("(")[1].split(",")[0]), 78.595
    np.testing.assert_allclose(ours * deviation + mean, test[:100], atol=0.01)
    assert abs(train.mean() - mean) < 0.5


def test_adult_keeps_its_own_test_file_and_both_label_spellings():
    task = loaded("adult")
    assert [int(split.y.sum()) for split in task.splits.values()] == [6273, 1568, 3846]
    assert task.train.x.shape[1] == 6 + 102


def test_california_marks_its_gaps():
    task = loaded("california-housing")
    assert any(
        note == "total_bedrooms: gaps (207) are filled by the training median and marked in a column"
        for note in task.notes
    )
    assert task.train.x.shape[1] == 14


def test_long_tail_thins_training_only():
    whole, thin = load("digits"), load("digits-longtail")
    assert thin.train.y.bincount().tolist() == [106, 78, 56, 40, 29, 21, 15, 11, 8, 5]
    assert torch.equal(whole.validation.y, thin.validation.y)
    assert torch.equal(whole.test.y, thin.test.y)


@pytest.mark.parametrize("name", ["digits", "diabetes"])
def test_a_plain_loop_learns_it(name):
    """Measured on CPU (momentum 0.9, 20 epochs): digits 97.0-97.5 % over three seeds; diabetes rmse 0.79."""
    task = load(name)
    torch.manual_seed(0)
    model = task.model()
    loss = torch.nn.functional.cross_entropy if task.classes else torch.nn.functional.mse_loss
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05 if task.classes else 0.01, momentum=0.9)
    for _ in range(task.epochs):
        for rows in torch.randperm(len(task.train)).split(task.batch_size):
            optimizer.zero_grad()
            loss(model(task.train.x[rows]), task.train.y[rows]).backward()
            optimizer.step()
    with torch.no_grad():
        output = model(task.validation.x)
    if task.classes:
        assert (output.argmax(1) == task.validation.y).float().mean() > 0.955
    else:
        assert (output - task.validation.y).square().mean().sqrt() < 0.85


def test_encoding_learns_from_training_rows_only():
    table = pd.DataFrame({"size": [1.0, 3.0, None, 1e9], "town": ["b", None, "a", "zzz"]})
    train = np.array([0, 1, 2])
    x, notes = encode(table, train)
    spread = np.std([1.0, 3.0, 2.0])
    np.testing.assert_allclose(x[:3, 0], np.array([-1.0, 1.0, 0.0]) / spread, rtol=1e-6)
    assert x[:, 1].tolist() == [0, 0, 1, 0]  # the gap
    assert x[:, 2:].tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 0, 0]]  # a, b, missing; zzz is new
    assert notes == (
        "numeric columns (1) are scaled to mean 0 and deviation 1 by training data",
        "text columns (1) became 3 columns of 0 and 1, one for each level",
        "size: gaps (1) are filled by the training median and marked in a column",
    )


@pytest.mark.parametrize("name", ELSEWHERE)
def test_missing_data_is_one_line_that_says_what_to_do(name, tmp_path, monkeypatch):
    file = CARDS[name].needs[0]
    monkeypatch.delenv(FETCH, raising=False)
    monkeypatch.delenv(DATA, raising=False)
    with pytest.raises(
        InputError, match=f"^task '{name}' needs {file}.* in the folder that {DATA} names; {DATA} is not"
    ):
        builtin(name)
    monkeypatch.setenv(DATA, str(tmp_path))
    with pytest.raises(
        InputError, match=f"^task '{name}' needs {file}.* in the folder .*; put the file there"
    ) as caught:
        builtin(name)
    assert (f"{FETCH}=1" in str(caught.value)) == bool(CARDS[name].openml)
    assert not CARDS[name].ready()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"junk", "mnist.npz cannot be read as an npz file"),
        (None, "mnist.npz lacks an array; it must hold x_train"),
    ],
)
def test_a_broken_file_is_named(tmp_path, monkeypatch, content, message):
    path = tmp_path / "mnist.npz"
    if content is None:
        np.savez(path, x=np.zeros(3))
    else:
        path.write_bytes(content)
    monkeypatch.setenv(DATA, str(tmp_path))
    with pytest.raises(InputError, match=message):
        builtin("mnist")


def test_fetching_happens_only_on_request_and_agrees_with_the_file(monkeypatch, tmp_path):
    """A stand-in for OpenML hands out the file's own rows: both ways must give the same task."""
    from_file = loaded("mammography")
    whole = pd.read_csv(Path(os.environ[DATA]) / CARDS["mammography"].needs[0], header=None, quotechar="'")

    def stand_in(name, **options):
        assert (name, options["version"]) == ("mammography", 1)
        return sklearn.utils.Bunch(
            data=whole.iloc[:, :-1], target=whole.iloc[:, -1].astype(str).astype("category")
        )

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", stand_in)
    monkeypatch.setenv(DATA, str(tmp_path))
    monkeypatch.setenv(FETCH, "1")
    assert builtin("mammography").data_sha256 == from_file.data_sha256

    def offline(name, **options):
        raise OSError("no network")

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", offline)
    with pytest.raises(
        InputError, match=r"^'mammography' could not be fetched from OpenML \(no network\); check"
    ):
        builtin("mammography")


def test_listing_imports_neither_torch_nor_data_libraries():
    code = (
        "import sys\n"
        "from ablate.tasks.task_cards import CARDS\n"
        "cards = [card.ready() for card in CARDS.values()]\n"
        "heavy = {'torch', 'torchvision', 'numpy', 'scipy', 'pandas', 'sklearn', 'PIL', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "print(len(cards))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(CARDS)


def test_the_registry_is_complete():
    assert set(BUILDERS) == set(CARDS) == set(SIZES)
    assert "digits" in HERE
