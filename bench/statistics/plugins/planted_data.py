"""Digits, a hundred and fifty to train on and the rest of the training examples kept back, for tricks of known sign."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits

from ablate.tasks.split import random_parts

TRAINED = 150
CLASSES = 10

_pixels, _labels = load_digits(return_X_y=True)
_rows = random_parts(len(_labels), "TVT", _labels)
_X = torch.tensor(_pixels / 16, dtype=torch.float32)
_Y = torch.tensor(_labels, dtype=torch.int64)
_FIRST = random_parts(len(_rows["T"]), "ABCD", _Y[_rows["T"]].numpy())
_ORDER = torch.cat([torch.from_numpy(_FIRST[letter]) for letter in "ABCD"])
_FIT = torch.from_numpy(_rows["T"])[_ORDER]
X, Y = _X[_FIT[:TRAINED]], _Y[_FIT[:TRAINED]]
MORE_X, MORE_Y = _X[_FIT[TRAINED:]], _Y[_FIT[TRAINED:]]
VALIDATION = (_X[_rows["V"]], _Y[_rows["V"]])
TARGETS = torch.nn.functional.one_hot(Y, CLASSES).float()
MORE_TARGETS = torch.nn.functional.one_hot(MORE_Y, CLASSES).float()
