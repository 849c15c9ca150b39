"""R3 and S1 for checkpoints: damaged bytes and forged content are one line, whatever the digest says."""

import copy

import pytest
import torch

from ablate.lanes import checkpoint
from ablate.records.errors import InputError
from bench.chaos.files import archive, packed, saved_training, sealed


@pytest.fixture(scope="module")
def saved():
    return saved_training()


def test_a_flipped_bit_and_a_cut_at_any_byte_are_one_line(saved):
    context, about, tensors = saved
    whole = packed(about, tensors)
    assert checkpoint.loads(whole, context, check=True).trainer.group.runs
    for at in range(len(whole)):
        for damaged in (whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :], whole[:at]):
            with pytest.raises(InputError, match="does not match its SHA-256"):
                checkpoint.parts(damaged, "this")


def test_an_archive_cut_anywhere_under_a_digest_that_is_right_is_one_line(saved):
    _, about, tensors = saved
    whole = archive(about, tensors)
    for end in range(0, len(whole), 41):
        with pytest.raises(InputError, match="not a readable checkpoint: it does not say what it is of"):
            checkpoint.parts(sealed(whole[:end]), "this")


def with_run(**change):
    return lambda about: about["runs"][0].update(change)


FORGED = {
    "empty": (lambda about: about.update(runs=[], together=[], traces=[], seconds=[]), "are not as many"),
    "a run without fields": (lambda about: about.update(runs=[{}, {}]), r"about\.runs\[0\]\.task is missing"),
    "fewer traces": (lambda about: about["traces"].pop(), "are not as many"),
    "no format": (lambda about: about.pop("format"), "format is missing"),
    "another format": (lambda about: about.update(format=[3]), "is a checkpoint of format"),
    "a seed of text": (with_run(seed="x"), "seed is text, not a whole number"),
    "a negative seed": (with_run(seed=-1), "no run has its seed"),
    "an unknown trick": (with_run(recipe={"momntum": {}}), "did you mean 'momentum'"),
    "a setting too many": (with_run(recipe={"ema": {"decay": 0.9, "x": 1}}), "other settings of 'ema'"),
    "a setting of text": (with_run(recipe={"ema": {"decay": "x"}}), "must be a number"),
    "no fingerprint": (lambda about: about.update(fingerprint=None), "of which data and model"),
    "a best epoch that is none": (lambda about: about["traces"][0].update(best=7), "its best epoch is none"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_text_is_one_line(saved, name):
    context, about, tensors = saved
    change, message = FORGED[name]
    about = copy.deepcopy(about)
    change(about)
    with pytest.raises(InputError, match=message) as error:
        checkpoint.loads(packed(about, tensors), context, check=True)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change", [{"trainer/weights": torch.zeros(3)}, {"totals": "x"}, {"trainer/alive": None}], ids=str
)
def test_forged_tensors_are_one_line(saved, change):
    context, about, tensors = saved
    with pytest.raises(InputError, match="its tensors are"):
        checkpoint.loads(packed(about, {**tensors, **change}), context)
    for name in change:
        with pytest.raises(InputError, match="its tensors are not those of its runs"):
            checkpoint.loads(packed(about, {k: v for k, v in tensors.items() if k != name}), context)
