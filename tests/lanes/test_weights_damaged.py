"""R3 for the file of weights: whatever happens to its bytes, the tensors that were written or one line."""

import json

import pytest
import torch
from safetensors.torch import save

from ablate.lanes.weights_file import DIGEST, FIELDS, NOTE, WITHOUT_DIGEST, read, sealed, write
from ablate.records.errors import InputError
from ablate.records.forms import mismatch

TENSORS = {"a": torch.tensor([1.5, -2.0]), "b": torch.tensor(3), "c": torch.zeros(0, dtype=torch.bfloat16)}
ABOUT = {"task": "digits", "source_sha256": "", "recipe": {"momentum": {"lr": 0.1}}, "seed": 0, "epochs": 2}


@pytest.fixture
def file(tmp_path):
    write(tmp_path / "w.safetensors", TENSORS, ABOUT)
    return tmp_path / "w.safetensors"


def told(file, content):
    """What `read` says of a damaged file, "" if it reads what was written."""
    file.write_bytes(content)
    try:
        tensors, note = read(file)
    except InputError as error:
        return str(error)
    assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())
    assert (note.recipe, note.seed) == (ABOUT["recipe"], 0)
    return ""


def test_a_flipped_bit_at_any_byte_is_one_line(file):
    whole = file.read_bytes()
    assert told(file, whole) == ""
    flipped = [
        told(file, whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        for at in range(len(whole))
    ]
    assert all(flipped)
    assert not any("\n" in line for line in flipped)
    assert all("does not match its SHA-256" in line for line in flipped[-16:]), "where the tensors are"


def test_a_file_cut_anywhere_is_one_line(file):
    whole = file.read_bytes()
    assert all(told(file, whole[:end]) for end in range(len(whole)))
    assert told(file, whole + b"\0")


def test_a_file_of_the_earlier_format_is_read_with_a_warning(file):
    note = json.dumps({"format": WITHOUT_DIGEST, **ABOUT})
    file.write_bytes(save(TENSORS, {"format": "pt", NOTE: note}))
    with pytest.warns(UserWarning, match="without a digest: damage to it would not be noticed"):
        assert read(file)[1].task == "digits"


def test_a_digest_that_was_taken_away_is_missed(file):
    file.write_bytes(save(TENSORS, {"format": "pt", NOTE: json.dumps({"format": 3, **ABOUT})}))
    with pytest.raises(InputError, match="its SHA-256 is missing"):
        read(file)
    file.write_bytes(save(TENSORS, {"format": "pt", NOTE: json.dumps({"format": 2, **ABOUT}), DIGEST: "0"}))
    with pytest.raises(InputError, match="does not match its SHA-256"):
        read(file)


@pytest.mark.parametrize("name", ["format", *FIELDS])
@pytest.mark.parametrize("value", [None, 3.5, [], {"a": 1}, "x", True, -1, 10**30], ids=str)
def test_a_note_of_other_types_is_one_line(file, name, value):
    if name in FIELDS and mismatch(value, FIELDS[name]) == "" and value != -1:
        pytest.skip("its own type")
    file.write_bytes(sealed(TENSORS, json.dumps({"format": 3, **ABOUT, name: value})))
    with pytest.raises(InputError, match=r"does not say what it is of|is of format") as error:
        read(file)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    "note", ["", "3", "[]", "null", "{", '{"format": 3}', "[" * 100_000], ids=lambda n: n[:9]
)
def test_a_note_that_is_none_is_one_line(file, note):
    file.write_bytes(sealed(TENSORS, note))
    with pytest.raises(InputError, match="does not say what it is of"):
        read(file)
