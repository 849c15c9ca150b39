"""A valid file of each kind that ablate reads, with its parser: what `parsers` mutates.

A bytes object is mutated as such; a document is stored in its file with a digest that is right.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ablate.catalogue.own_tricks import own_tricks
from ablate.catalogue.registry import registry
from ablate.lanes import checkpoint, weights_file
from ablate.lanes.context import TaskContext
from ablate.lanes.training import Training
from ablate.ledger.codec import encode
from ablate.ledger.facts import documents
from ablate.ledger.index import Fact
from ablate.ranking.tables.csv_reader import read_table
from ablate.records.recipe import Recipe
from ablate.records.run import Run
from ablate.report.collect import gather
from ablate.report.verdict import verdict
from ablate.study.claims.suite import read_claim
from ablate.study.recipes import read_recipe
from ablate.study.request import read_study
from ablate.tasks.table_file import table_task
from ablate.tasks.task import Task
from bench.chaos.facts import FACTS
from bench.chaos.promise import ROOT
from bench.chaos.tiny_study import STUDY

TENSORS = {"weight": torch.tensor([[1.5, -2.0]]), "bias": torch.tensor([0.5])}
NOTE = {
    "format": weights_file.FORMAT, "task": "digits", "source_sha256": "", "recipe": {"momentum": {"lr": 0.1}}, "seed": 0, "epochs": 2,
}  # fmt: skip
TABLE = "".join(f"{n},{n % 3},{'ab'[n % 2]},{n * 0.5}\n" for n in range(40))
Parser = Callable[[Path], object]


def known_files() -> dict[str, tuple[Any, Parser]]:
    """Name -> (a valid file or document, its parser)."""
    known = registry()
    claim = next(iter(sorted((ROOT / "studies" / "claims").glob("*.toml"))))
    trick = next(iter(sorted((ROOT / "ablate" / "catalogue" / "data").glob("[a-z]*.py"))))
    weights = weights_file.sealed(TENSORS, json.dumps(NOTE))
    context, about, tensors = saved_training()
    table = f"a,b,c,y\n{TABLE}".encode()
    files: dict[str, tuple[Any, Parser]] = {
        "study file": (STUDY.encode(), read_study),
        "claim file": (claim.read_bytes(), read_claim),
        "recipe": (b"[momentum]\nlr = 0.1\n[dropout]\np = 0.2\n", lambda path: read_recipe(path, known)),
        "table of runs": (b"lr,dropout.on,accuracy\n0.1,1,0.9\n0.2,0,0.8\n0.1,0,0.7\n", read_table),
        "trick": (trick.read_bytes(), lambda path: own_tricks([str(path)])),
        "weights": (weights, weights_file.read),
        "forged weights": (NOTE, lambda path: of_forged_weights(path)),
        "checkpoint": (packed(about, tensors), lambda path: checkpoint.loads(path.read_bytes(), context)),
        "forged archive": (archive(about, tensors), lambda path: checkpoint.parts(sealed(path.read_bytes()), "this")),
        "forged checkpoint": (about, lambda path: checkpoint.loads(packed(of_json(path), tensors), context, check=True)),
        "ledger's facts": (FACTS, report_of_facts),
        "task table": (table, lambda path: table_task(f"{path}:y")),
    }  # fmt: skip
    if find_spec("pyarrow"):
        import pandas as pd

        parquet = pd.read_csv(io.BytesIO(table)).to_parquet()
        files["task parquet"] = (parquet, lambda path: table_task(f"{path}:y"))
    return files


def saved_training() -> tuple[TaskContext, dict[str, Any], dict[str, torch.Tensor]]:
    """A training of two runs after its first epoch: the context, and the two parts of its checkpoint."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(24, 3, generator=generator)
    task = Task(lambda: nn.Linear(3, 2), (x, (x[:, 0] > 0).long()), epochs=3, batch_size=8, name="tiny")
    context = TaskContext.of(task, registry(), torch.device("cpu"), "loop")
    runs = [
        Run("tiny", Recipe.of(registry(), {"momentum": {"lr": lr}, "ema": {}}), 0, 3) for lr in (0.1, 0.2)
    ]
    training = Training(context, runs, ("validation",))
    training.epoch()
    from ablate.lanes.fingerprint import fingerprint

    about, tensors = checkpoint.parts(checkpoint.dumps(training, fingerprint(context)), "this")
    return context, about, tensors


def of_json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def of_forged_weights(path: Path) -> object:
    content = weights_file.sealed(TENSORS, path.read_text(encoding="utf-8"))
    path.write_bytes(content)
    return weights_file.read(path)


def archive(about: Any, tensors: Any) -> bytes:
    """The part of a checkpoint after its digest."""
    buffer = io.BytesIO()
    torch.save({"about": json.dumps(about), "tensors": tensors}, buffer)
    return buffer.getvalue()


def sealed(content: bytes) -> bytes:
    """With the digest of a checkpoint."""
    return hashlib.sha256(content).digest() + content


def packed(about: Any, tensors: Any) -> bytes:
    """A checkpoint."""
    return sealed(archive(about, tensors))


def report_of_facts(path: Path) -> object:
    """What a report says of a ledger with these documents and no runs."""
    plain = of_json(path)
    facts = (
        {key: Fact(n, "", encode(value)) for n, (key, value) in enumerate(plain.items())}
        if isinstance(plain, dict)
        else {}
    )
    return verdict(gather(documents(path, facts), []), None)
