"""Tasks that are wrong in the ways that people get them wrong: one line that says what to do, exit 2, nothing written."""

from __future__ import annotations

import pytest
from cli_samples import ablate, files

HEAD = """import torch, numpy as np, ablate
from torch import nn
from torch.utils.data import Dataset, IterableDataset, DataLoader
x = torch.randn(120, 4, generator=torch.Generator().manual_seed(0))
y = (x[:, 0] > 0).long()
net = lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
T = ablate.Task


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)
"""
WRONG = {
    "rows disagree": ("task = T(net, (x, y[:100]))", "x has 120 rows and y has 100; give one y for each x"),
    "validation width": ("task = T(net, (x, y), (x[:, :3], y))", "prepare all splits in the same way"),
    "model width": ("task = T(lambda: nn.Linear(5, 2), (x, y))", "its input is float32 of shape [8, 4]"),
    "too few outputs": ("task = T(lambda: nn.Linear(4, 2), (x, torch.arange(120) % 3))", "or give the model 3 outputs"),
    "3d labels": ("task = T(net, (x, torch.zeros(120, 3, 3)))", "for a class of every pixel, criterion=\"segmentation\""),
    "one hot labels": ("task = T(net, (x, nn.functional.one_hot(y)))", "from one-hot, y.argmax(1)"),
    "labels from 1": ("task = T(net, (x, y + 1))", "number the classes 0 … 1"),
    "negative labels": ("task = T(net, (x, y * 2 - 1))", "holds the label -1; number the classes 0"),
    "float labels": ("task = T(net, (x, y + 0.5))", "for numbers use criterion=\"regression\""),
    "regression width": ("task = T(lambda: nn.Linear(4, 3), (x, x[:, :2]), criterion='regression')", "expected [8, 2]"),
    "one class": ("task = T(net, (x, y * 0))", "give examples of at least two classes"),
    "ready module": ("task = T(net(), (x, y))", "every run needs fresh weights: model=lambda: MyNet()"),
    "module that needs arguments": ("class N(nn.Module):\n    def __init__(self, width):\n        super().__init__(); self.l = nn.Linear(4, 2)\n    def forward(self, x): return self.l(x)\ntask = T(N, (x, y))", "give them in a function, model=lambda: N(width=…)"),
    "__init__ without super": ("class N(nn.Module):\n    def __init__(self):\n        self.l = nn.Linear(4, 2)\ntask = T(N, (x, y))", "begin it with super().__init__()"),
    "empty module": ("class N(nn.Module):\n    pass\ntask = T(N, (x, y))", "there is nothing to train"),
    "returns none": ("class N(Own):\n    def forward(self, x): self.layer(x)\ntask = T(N, (x, y))", "NoneType"),
    "model none": ("task = T(lambda: None, (x, y))", "not an nn.Module"),
    "no parameters": ("task = T(lambda: nn.Flatten(), (x, y))", "no trainable parameters"),
    "same module": ("m = net()\ntask = T(lambda: m, (x, y))", "build it inside the function"),
    "loss wrong shape": ("task = T(net, (x, y), loss=lambda o, t: o)", "return a number for each example, [batch], or their mean"),
    "loss detached": ("task = T(net, (x, y), loss=lambda o, t: nn.functional.cross_entropy(o, t).detach())", "compute it from the outputs, without detach, argmax or item"),
    "loss item": ("task = T(net, (x, y), loss=lambda o, t: nn.functional.cross_entropy(o, t).item())", "which has no gradient; return a tensor"),
    "loss none": ("def l(o, t): nn.functional.cross_entropy(o, t)\ntask = T(net, (x, y), loss=l)", "which has no gradient; return a tensor"),
    "loss three args": ("task = T(net, (x, y), loss=lambda o, t, w: o.mean())", "loss takes 3 arguments, and is called with (outputs, targets)"),
    "loss raises": ("task = T(net, (x, y), loss=lambda o, t: o @ t)", "the loss failed at mine.py:16: RuntimeError"),
    "loss string": ("task = T(net, (x, y), loss='mse')", "must be a function (outputs, targets)"),
    "loss nan": ("task = T(net, (x, y), loss=lambda o, t: o.sum(1) * float('nan'))", "look for a log or a division in it"),
    "loss class": ("task = T(net, (x, y), loss=nn.CrossEntropyLoss)", "give an object: loss=CrossEntropyLoss()"),
    "metric nan": ("task = T(net, (x, y), metrics={'m': (lambda o, t: float('nan'), 'maximize')}, metric='m')", "return a number, or choose another metric"),
    "metric tensor": ("task = T(net, (x, y), metrics={'m': (lambda o, t: o, 'maximize')})", "average it over classes or outputs"),
    "metric raises": ("task = T(net, (x, y), metrics={'m': (lambda o, t: o.foo, 'maximize')})", "the metric 'm' failed at mine.py:16: AttributeError"),
    "metric direction": ("task = T(net, (x, y), metrics={'m': (lambda o, t: 1.0, 'up')})", "(function, \"maximize\")}, or \"minimize\""),
    "metric no direction": ("task = T(net, (x, y), metrics={'m': lambda o, t: 1.0})", "nothing says whether a high 'm' is good"),
    "metric name": ("task = T(net, (x, y), metrics={'accuracy': (lambda o, t: 1.0, 'maximize')})", "give it another name"),
    "metric list": ("task = T(net, (x, y), metrics=['accuracy'])", "not a function"),
    "metric unknown": ("task = T(net, (x, y), metric='acuracy')", "did you mean 'accuracy'?"),
    "metric of another criterion": ("task = T(net, (x, y), metric='rmse')", "belongs to regression"),
    "x nan": ("x[5, 2] = float('nan')\ntask = T(net, (x, y))", "first at row 5 of the training data that was given"),
    "x strings": ("task = T(net, (np.array([['a'] * 4] * 120), y))", "not numbers"),
    "x none": ("task = T(net, (None, y))", "not numbers"),
    "train single": ("task = T(net, x)", "must be a pair (x, y), not a Tensor"),
    "train triple": ("task = T(net, (x, y, x))", "not a tuple of 3"),
    "empty": ("task = T(net, (x[:0], y[:0]))", "a split needs at least one example"),
    "too few rows": ("task = T(net, (x[:2], y[:2]))", "or more data"),
    "bad criterion": ("task = T(net, (x, y), criterion='clasification')", "did you mean 'classification'?"),
    "epochs": ("task = T(net, (x, y), epochs=0)", "at least 1, not 0"),
    "batch size": ("task = T(net, (x, y), batch_size=-1)", "at least 1, not -1"),
    "stream that ends early": ("class S(IterableDataset):\n    def __len__(self): return 200\n    def __iter__(self):\n        for i in range(120):\n            yield x[i], int(y[i])\ntask = T(net, S())", "ends after 120 of 200 examples; let every pass give as many, and let len() say how many"),
    "stream without items": ("class S(IterableDataset):\n    def __iter__(self): return iter(())\ntask = T(net, S())", "a split needs at least one example"),
    "length beyond the items": ("class S(Dataset):\n    def __len__(self): return 200\n    def __getitem__(self, i): return x[i], int(y[i])\ntask = T(net, S())", "index 120 is out of bounds"),
    "items without targets": ("class S(Dataset):\n    def __len__(self): return 100\n    def __getitem__(self, i): return x[i]\ntask = T(net, S())", "return (x, y), or a dict with \"labels\""),
    "items of several shapes": ("class S(Dataset):\n    def __len__(self): return 100\n    def __getitem__(self, i): return x[i, :1 + i % 3], int(y[i])\ntask = T(net, S())", "bring all examples to one shape (resize, pad)"),
    "Dataset without length": ("class S(Dataset):\n    def __getitem__(self, i): return x[i % 120], int(y[i % 120])\ntask = T(net, S())", "the Dataset has no length; give it a __len__"),
    "item that fails": ("class S(Dataset):\n    def __len__(self): return 100\n    def __getitem__(self, i):\n        if i == 50: raise OSError('corrupt file')\n        return x[i], int(y[i])\ntask = T(net, S())", "OSError: corrupt file"),
    "collate": ("task = T(net, DataLoader(torch.utils.data.TensorDataset(x, y), collate_fn=lambda b: b))", "let its items have what that function does"),
    "dict keys": ("task = T(net, ({'a': x}, y))", "its inputs are a float32 [4]"),
    "keys of validation": ("class N(Own):\n    def forward(self, a): return self.layer(a)\ntask = T(N, ({'a': x}, y), ({'b': x}, y))", "validation x is b float32 [4], train x is a float32 [4]"),
    "dict rows": ("class N(Own):\n    def forward(self, a, b): return self.layer(a)\ntask = T(N, ({'a': x, 'b': x[:50]}, y))", "give one entry for each example"),
    "output name": ("class N(Own):\n    def forward(self, x): return {'scores': self.layer(x)}\ntask = T(N, (x, y), output='score')", "did you mean 'scores'?"),
    "dict no output": ("class N(Own):\n    def forward(self, x): return {'scores': self.layer(x), 'h': x}\ntask = T(N, (x, y))", "give output=\"NAME\""),
    "tokens too large": ("ids = torch.randint(0, 50, (120, 6))\ntask = T(lambda: nn.Sequential(nn.Embedding(20, 4), nn.Flatten(), nn.Linear(24, 2)), (ids, y))", "its ids go up to 49, and an embedding has 20 rows"),
    "tokens float": ("ids = torch.randint(0, 50, (120, 6)).float()\ntask = T(lambda: nn.Sequential(nn.Embedding(50, 4), nn.Flatten(), nn.Linear(24, 2)), (ids, y))", "kind=\"text\""),
    "classes of tokens": ("ids = torch.randint(0, 50, (120, 6))\ntask = T(lambda: nn.Embedding(50, 3), (ids, ids % 5), criterion='token_classification')", "or give the model 5 outputs"),
    "classes of pixels": ("im = torch.randn(60, 1, 8, 8)\ntask = T(lambda: nn.Conv2d(1, 3, 1), (im, (im[:, 0] > 0).long() * 255), criterion='segmentation')", "number the classes 0 … 2, with -100 at pixels that do not count, or"),
    "one logit": ("task = T(lambda: nn.Linear(4, 1), (x, y % 2))", "give y as [N, 1], y[:, None], with criterion=\"multilabel\""),
    "factory with arguments": ("def build(width, depth): return nn.Linear(4, width)\ntask = T(build, (x, y))", "model=lambda: build(width=…, depth=…)"),
    "inner class with arguments": ("class N(nn.Linear):\n    def __init__(self, *, width): super().__init__(4, width)\ntask = T(lambda: N(), (x, y))", "model=lambda: N(width=…)"),
    "one named class": ("task = T(net, (x, y * 0), labels=('cat', 'dog'))", "train y holds one class only, 0 ('cat')"),
    "one class in a table": ("import pandas as pd\ntask = T.from_table(pd.DataFrame({'a': range(120), 'b': ['u'] * 120}), 'b')", "column 'b' of the table holds one value only, 'u'"),
    "multilabel ints": ("task = T(net, (x, torch.randint(0, 3, (120, 2))), criterion='multilabel')", "multilabel takes 0 or 1 for each label"),
    "multilabel 1d": ("task = T(net, (x, y), criterion='multilabel')", "[N, C]"),
    "task none": ("task = None", "write task = ablate.Task("),
    "task function": ("def task(): return 3", "must be an ablate.Task"),
    "task dict": ("task = {'model': net}", "must be an ablate.Task"),
    "syntax": ("task = T(net, (x, y)", "SyntaxError"),
    "import": ("import torchvison\ntask = T(net, (x, y))", "No module named 'torchvison'"),
    "kind": ("task = T(net, (x, y), kind='img')", "did you mean 'image'?"),
    "unknown arg": ("task = T(net, (x, y), lr=0.1)", "unknown argument 'lr'; known: batch_size"),
    "frame strings": ("import pandas as pd\ntask = T(net, (pd.DataFrame({'a': ['u'] * 120, 'b': range(120)}), y))", "encode it first"),
    "a dict for a pair": ("task = T(net, {'x': x, 'y': y})", "not a dict"),
    "list of pairs": ("task = T(net, [(x[i], int(y[i])) for i in range(120)])", "not a list of 120"),
    "channels last": ("im = torch.randn(60, 8, 8, 3)\ntask = T(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2)), (im, y[:60]))", "x.permute(0, 3, 1, 2)"),
}  # fmt: skip


@pytest.mark.parametrize(("code", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_task_is_one_line(capsys, tmp_path, monkeypatch, code, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(f"{HEAD}\n\n{code}\n")
    before = files(tmp_path)
    said = ablate(capsys, "tasks", "mine.py:task")
    assert said.code == 2
    assert said.out == ""
    assert said.err.startswith("ablate: ")
    assert said.err.count("\n") == 1
    assert message in said.err
    assert {name for name in files(tmp_path) if "__pycache__" not in name} == set(before)


def test_what_is_odd_but_can_be_trained_is_a_warning(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "task = T(net, (x, y), loss=nn.CrossEntropyLoss(reduction='sum'))"
    (tmp_path / "mine.py").write_text(f"{HEAD}\n\n{code}\n")
    said = ablate(capsys, "tasks", "mine.py:task")
    assert said.code == 0
    assert "warning: the loss is a sum over the batch" in said.out
    assert "inputs: 4\n" in said.out
    assert "splits: train " in said.out
