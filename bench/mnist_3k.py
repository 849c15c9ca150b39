"""Task file: 3,000 images of MNIST (2,000 for training) and a small convolution network. Needs `$ABLATE_DATA`."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ablate import Task
from ablate.tasks.models import convnet

with np.load(Path(os.environ["ABLATE_DATA"]) / "mnist.npz", allow_pickle=False) as arrays:
    pixels, labels = arrays["x_train"][:3000, None], arrays["y_train"][:3000].astype(np.int64)

x = torch.from_numpy(pixels).float().div_(255.0).sub_(0.1307).div_(0.3081)
y = torch.from_numpy(labels)

task = Task(
    name="mnist-3k",
    model=partial(convnet, (1, 28, 28), (16, 16, 16), 2, 10, stride=2),
    train=(x[:2000], y[:2000]),
    validation=(x[2000:2500], y[2000:2500]),
    test=(x[2500:], y[2500:]),
    kind="image",
    epochs=6,
)
