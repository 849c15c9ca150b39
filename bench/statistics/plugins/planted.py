"""The task of the validation on real training: 150 digits, a perceptron of one hidden layer."""

from planted_data import VALIDATION, X, Y
from torch import nn

import ablate


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


task = ablate.Task(
    model=model, train=(X, Y), validation=VALIDATION, test=False, epochs=20, batch_size=15, name="planted"
)
