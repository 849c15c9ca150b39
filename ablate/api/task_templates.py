"""The models and the made-up data of the task files that `ablate init` writes, as source text. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from ablate.tasks.metric_table import Criterion

_NUMBERS = '''

class Net(nn.Module):
    """Replace it by your model. Norms, dropout and the like may be in it, or left to the study."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, {outputs}))

    def forward(self, x):
        return self.layers(x)


def data():
    """Replace it by your data: x `[N, ...]` and y {y}.

    Both are tensors or arrays; a Dataset of such pairs works, too.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(600, 16, generator=generator)
    score = x[:, :4].sum(1) + 0.5 * torch.randn(600, generator=generator)
    return x, {target}
'''
_TEXT = '''
WORDS = 100  # the size of the vocabulary; id 0 is padding


class Net(nn.Module):
    """Replace it by your model. Norms, dropout and the like may be in it, or left to the study."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 32, padding_idx=0)
        self.hidden = nn.Sequential(nn.Linear(32, 32), nn.ReLU())
        self.head = nn.Linear(32, 2)  # 2 classes

    def forward(self, input_ids, attention_mask):  # the names of the inputs below
        vectors = self.embedding(input_ids)  # [B, T, 32]
        mask = attention_mask[:, :, None].float()  # 1 for a token, 0 for padding
        mean = (vectors * mask).sum(1) / mask.sum(1).clamp(min=1)  # of the tokens
        return self.head(self.hidden(mean))


def data():
    """Replace it by your data: token ids and their mask, both `[N, T]`, and y, classes `[N]`.

    A tokenizer of transformers makes both from a list of texts:
    tokenizer(texts, padding=True, return_token_type_ids=False, return_tensors="pt")
    """
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, WORDS, (2000, 20), generator=generator)
    length = torch.randint(5, 21, (2000, 1), generator=generator)
    mask = (torch.arange(20) < length).long()
    votes = torch.where(ids < WORDS // 2, 1, -1)  # each word speaks for a class
    y = ((votes * mask).sum(1) > 0).long()
    return {"input_ids": ids * mask, "attention_mask": mask}, y
'''
_PIXELS = '''

class Net(nn.Module):
    """Replace it by your model. Norms, dropout and the like may be in it, or left to the study."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 2, kernel_size=1),  # 2 classes
        )

    def forward(self, x):
        return self.layers(x)  # a score for each class of each pixel, [B, C, H, W]


def data():
    """Replace it by your data: images `[N, 3, H, W]`, and y, classes of pixels `[N, H, W]`.

    Classes count from 0; pixels of class -100 are left out of the loss and the metrics.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1000, 3, 12, 12, generator=generator)
    y = torch.zeros(1000, 12, 12, dtype=torch.long)
    corners = torch.randint(0, 7, (1000, 2), generator=generator).tolist()
    for i, (top, left) in enumerate(corners):
        y[i, top : top + 6, left : left + 6] = 1  # a square on a background
    return x + y[:, None], y
'''
_TOKENS = '''
WORDS = 100  # the size of the vocabulary; id 0 is padding


class Net(nn.Module):
    """Replace it by your model. Norms, dropout and the like may be in it, or left to the study."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 32, padding_idx=0)
        self.hidden = nn.Sequential(nn.Conv1d(32, 32, kernel_size=3, padding=1), nn.ReLU())
        self.head = nn.Linear(32, 3)  # 3 classes

    def forward(self, x):
        vectors = self.embedding(x)  # [B, T, 32]
        around = self.hidden(vectors.transpose(1, 2)).transpose(1, 2)  # each token with its neighbours
        return self.head(around)  # a score for each class of each token, [B, T, 3]


def data():
    """Replace it by your data: token ids `[N, T]`, and y, the class of each token `[N, T]`.

    Classes count from 0; tokens of class -100 (padding) are left out of the loss and the metrics.
    """
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, WORDS, (1000, 12), generator=generator)
    length = torch.randint(4, 13, (1000, 1), generator=generator)
    is_token = torch.arange(12) < length
    name = ids < 20  # words that may be a name
    after_title = torch.zeros_like(name)
    after_title[:, 1:] = ids[:, :-1] >= 80  # and are one after a title
    y = torch.where(name & after_title, 2, name.long())
    return ids * is_token, torch.where(is_token, y, -100)
'''
_LANGUAGE = '''
WORDS = 30  # the size of the vocabulary


class Net(nn.Module):
    """Replace it by your model. Norms, dropout and the like may be in it, or left to the study."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 32)
        self.memory = nn.GRU(32, 32, batch_first=True)  # it sees the tokens so far, and none that follow
        self.head = nn.Linear(32, WORDS)

    def forward(self, x):
        states, _ = self.memory(self.embedding(x))
        return self.head(states)  # a score for each next token at each place, [B, T, WORDS]


def data():
    """Replace it by your data: token ids `[N, T]`, and y, the token that follows each `[N, T]`.

    Places whose y is -100 are left out of the loss and the metrics.
    """
    generator = torch.Generator().manual_seed(0)
    text = torch.randint(0, WORDS, (1000, 17), generator=generator)
    for t in range(1, 17):  # two words in three follow from the word before
        follows = torch.rand(1000, generator=generator) < 2 / 3
        text[:, t] = torch.where(follows, (7 * text[:, t - 1] + 3) % WORDS, text[:, t])
    return text[:, :-1], text[:, 1:].clone()
'''


@dataclass(frozen=True, slots=True)
class Template:
    """The criterion of a task, and the source of its `Net` and `data`."""

    criterion: Criterion
    source: str


def _numbers(outputs: int, y: str, target: str) -> str:
    return _NUMBERS.format(outputs=outputs, y=y, target=target)


TEMPLATES = {
    "classification": Template("classification", _numbers(2, "`[N]`", "(score > 0).long()")),
    "regression": Template("regression", _numbers(1, "`[N]`", "score")),
    "multilabel": Template(
        "multilabel",
        _numbers(3, "`[N, labels]` of 0 and 1", "torch.stack([score > 0, score > 2, x[:, 4] > 0], 1).long()"),
    ),
    "segmentation": Template("segmentation", _PIXELS),
    "text": Template("classification", _TEXT),
    "token_classification": Template("token_classification", _TOKENS),
    "language_modelling": Template("language_modelling", _LANGUAGE),
}
"""The templates that `ablate init --template` takes, by name."""
