"""A run as one flat script of plain PyTorch: the model, the tricks' own functions and the loop, and nothing that the run does not use."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from torch import Tensor, nn

from ablate.catalogue.registry import registry
from ablate.export.bundle import Bundle
from ablate.export.call_text import call_text
from ablate.export.layer_text import recorded
from ablate.export.loop_text import LoopText
from ablate.export.model_text import Surgery
from ablate.export.packing_text import unpacking
from ablate.export.task_text import TaskText, not_written
from ablate.lanes.build import build_module, build_net, seeded
from ablate.lanes.context import TaskContext
from ablate.lanes.running_statistics import steps_of_pass
from ablate.lanes.trainer import Trainer
from ablate.records.errors import InputError
from ablate.records.run import Run
from ablate.seams.running_statistics import is_running
from ablate.surgery.layers import RandomLayer
from ablate.surgery.norms import Norm
from ablate.tasks.model_outputs import Adapted
from ablate.tasks.task import Task

PLAIN = "ablate.export.plain"
REPLACED = {
    ("ablate.seams.settings", "Settings"): (PLAIN, "Settings"),
    ("ablate.seams.tensors", "LaneTensors"): (PLAIN, "Tensors"),
    ("ablate.seams.by_tensor", "tensor_norms"): (PLAIN, "tensor_norms"),
    ("ablate.seams.by_tensor", "scaled_by_tensor"): (PLAIN, "scaled_by_tensor"),
    ("ablate.seams.draws", "keep_mask"): (PLAIN, "keep_mask"),
    ("ablate.records.errors", "InputError"): (PLAIN, "PlainInputError"),
    ("ablate.records.errors", "NotApplicable"): (PLAIN, "PlainInputError"),
}
"""The engine's class or function for many runs -> the script's for one."""
ALWAYS = (
    ("ablate.seams.draws", "seed_keys"),
    ("ablate.seams.draws", "step_keys"),
    ("ablate.seams.draws", "Draws"),
    ("ablate.seams.batch", "Batch"),
    ("ablate.seams.facts", "Facts"),
    ("ablate.seams.tensors", "Spec"),
    (PLAIN, "Tensors"),
    (PLAIN, "Settings"),
    ("ablate.lanes.data", "chunk_sizes"),
)
IMPORTS = (
    ("json", ""), ("random", ""), ("torch", ""), ("collections.abc", "Mapping"), ("pathlib", "Path"), ("torch", "Tensor"),
    ("torch", "nn"), ("torch.func", "functional_call"),
)  # fmt: skip
LOCALS = (
    "x", "y", "target", "facts", "model", "named", "specs", "weights", "seed", "loss", "predicted", "load_buffers", "scored_buffers", "before", "step", "epoch", "order",
    "draws", "batch", "index", "leaves", "losses", "found", "gradients", "scored", "outputs", "metrics", "data", "mean", "rate",
    "train", "make_model", "specs_of", "NORMS", "UNTRAINED", "total", "steps_per_epoch", "kept", "SPLITS", "outputs_by_split", "buffers", "best", "stop",
)  # fmt: skip
"""Names that the script itself uses and that are therefore taken."""


@dataclass(frozen=True)
class Script:
    """`text`: the script. `data`: the content of the file next to it. `left_out`: parts of the run that it leaves out, one line each."""

    text: str
    data: dict[str, Tensor]
    left_out: tuple[str, ...]


def script_of(
    task: Task, run: Run, *, about: str = "", expected: Mapping[str, float] | None = None
) -> Script:
    """The script that trains `run` on a CPU. `about`: where the run is from; `expected`: metrics to be reproduced.

    Raises InputError where something cannot be written out: data that are read anew each epoch, a model without source.
    """
    if why := not_written(task):
        raise InputError(
            why, hint="use recipe.toml and the weights, which `ablate train` takes and ablate.load reads"
        )
    catalogue = registry()
    context = TaskContext.of(task, catalogue, torch.device("cpu"), "loop")
    trainer = Trainer(context, [run])
    bundle = Bundle(REPLACED)
    bundle.reserve(*LOCALS)
    for module, attribute in IMPORTS:
        bundle.imported(module, attribute)
    names = {attribute: bundle.add(module, attribute) for module, attribute in ALWAYS}
    sections = [_section("Random numbers and tensors", bundle, 0)]

    done = len(bundle.parts)
    factory, wrapping = (task.model, None) if not isinstance(task.model, Adapted) else (task.model.factory, task.model)  # fmt: skip
    made = call_text(bundle, factory, "the model")
    surgeries = [name for name in run.recipe if catalogue[name].seam == "model"]
    example = task.train.in_memory[:2]
    users: dict[str, nn.Module] = {}

    def users_model() -> nn.Module:
        module = task.model()
        users.update(module.named_modules())
        return module

    with recorded() as calls:
        net = build_net(users_model, run, catalogue, example, surgeries, context.observed, together=False)
    fresh = build_module(task.model, run.seed, example)
    changes = Surgery(net, calls, users, fresh, run, catalogue)
    surgery = list(changes.lines(bundle))
    untrained = tuple(filter(None, map(changes.name_in_script, _untrained(trainer))))
    random_layers = any(isinstance(layer, RandomLayer) for layer in net.module.modules())
    if random_layers:
        names |= {
            name: bundle.add(module, name)
            for module, name in (
                ("ablate.surgery.layers", "RandomLayer"),
                ("ablate.seams.draws", "stream_keys"),
                ("ablate.seams.draws", "count_calls"),
            )
        }
    judged = TaskText(task, bundle)
    inputs, call, prediction = _wrapped(bundle, wrapping, task, writes=context.probe.writes_input)
    sections.append(_section("The model's layers, and the task", bundle, done))

    loop = LoopText(run, catalogue, bundle, judged, untrained)
    for name in run.recipe:
        done = len(bundle.parts)
        loop.add(name)
        trick = catalogue[name]
        source = trick.claims[0].source if trick.claims else None
        citation = (
            f": {source.authors} {source.year}, {source.url}".rstrip(", ")
            if source and source.authors
            else ""
        )
        if len(bundle.parts) > done:
            sections.append(_section(f"{name}, {trick.title}{citation}", bundle, done))
    others = any(loop.calls[port] for port in ("averaged", "scored", "ensemble"))
    statistics = others and any(map(is_running, trainer.forward.buffers()))
    if statistics:
        done = len(bundle.parts)
        names["estimated"] = bundle.add("ablate.seams.running_statistics", "estimated")
        sections.append(_section("Running statistics of weights other than the last", bundle, done))
    init = seeded(run.seed, "init")
    values = {
        **loop.lines(),
        **judged.lines(),
        "title": f"{task.title or task.name}: {', '.join(run.recipe)}",
        "about": textwrap.fill(about, 116) or f"A run of ablate on the task '{task.name}'.",
        "file": "train.py",
        "data": "data.pt",
        "needs": _needs(bundle),
        "expected": _expected(expected, {*judged.metrics, "loss"}),
        "sections": [section for section in sections if section["parts"]],
        "seed": run.seed,
        "epochs": run.epochs,
        "batch_size": trainer.order.batch_size,
        "lazy": _is_lazy(task, run),
        "init_seed": init,
        "numpy": any(one.module == "numpy" for one in bundle.imports.values()),
        "factory": made,
        "surgery": surgery,
        "n": names,
        "head": _head(net.heads),
        "norms": _norms(bundle),
        "untrained": loop.untrained,
        "random_layers": random_layers,
        "reseed": context.probe.reseed,
        "statistics": steps_of_pass(trainer.order) if statistics else 0,
        "inputs": inputs,
        "call": call,
        "prediction": prediction,
        "rows": task.evaluation.rows(trainer.order.batch_size),
    }
    values["imports"] = bundle.import_lines()
    text = _environment().get_template("train.py.j2").render(values)
    return Script(text, _data(trainer, task), (*loop.left_out, *judged.left_out))


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("ablate.export", "."), trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, undefined=StrictUndefined,
    )  # fmt: skip


def _section(title: str, bundle: Bundle, start: int) -> dict[str, Any]:
    return {"title": " ".join(title.split()), "parts": bundle.parts[start:]}


def _wrapped(bundle: Bundle, wrapping: Adapted | None, task: Task, *, writes: bool) -> tuple[str, str, str]:
    """(the function that unpacks inputs or "", the arguments of `functional_call`, the prediction among `outputs` or "")."""
    clone = ".clone()" if writes else ""
    if wrapping is None:
        return "", f"(x[0]{clone},)", ""
    inputs, call = "", f"(x[0]{clone},)"
    if wrapping.packing is not None:
        inputs = bundle.free_name("nested_inputs", "")
        bundle.imported("typing", "Any")
        bundle.parts.append(unpacking(inputs, wrapping.packing))
        given = wrapping.packing.unpack(task.train.in_memory[:1])
        call = (
            "(), inputs" if isinstance(given, dict) else "inputs" if isinstance(given, tuple) else "(inputs,)"
        )
    if task.output_form.packing is not None:
        leaves = bundle.add("ablate.tasks.packing", "leaves_of")
        form = bundle.add("ablate.tasks.model_outputs", "as_nested")
        return inputs, call, f"torch.cat([value.reshape(len(value), -1) for _, value in {leaves}({form}(outputs))], dim=1)"  # fmt: skip
    chosen = bundle.add(PLAIN, "prediction")
    return inputs, call, f"{chosen}(outputs, {wrapping.output!r})"


def _untrained(trainer: Trainer) -> tuple[str, ...]:
    """The user's parameters that get no gradient in a step, of those that require one."""
    trainer.step()
    return tuple(
        name
        for part in trainer.optimizers.parts
        if part.columns is not None and part.missed is not None and bool(part.missed.any())
        for name in part.columns
    )


def _is_lazy(task: Task, run: Run) -> bool:
    from torch.nn.parameter import is_lazy

    from ablate.tasks.user_code import repeatable

    with repeatable(seeded(run.seed, "init")):
        return any(map(is_lazy, task.model().parameters()))


def _head(heads: Iterable[str]) -> str:
    prefixes = ", ".join(f'"{head}."' if head else '""' for head in sorted(heads))
    return f"name.startswith(({prefixes},))" if "," in prefixes else f"name.startswith({prefixes or '()'})"


def _norms(bundle: Bundle) -> str:
    """The classes whose parameters are those of norms, as far as the script has them."""
    torchs = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "LayerNorm", "GroupNorm", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "RMSNorm")  # fmt: skip
    ours = sorted({*(kind.__name__ for kind in _subclasses(Norm)), "SqueezeExcitation"})
    return ", ".join([*(f"nn.{name}" for name in torchs), *(name for name in ours if bundle.has(name))])


def _needs(bundle: Bundle) -> str:
    import sys

    tops = {one.module.partition(".")[0] for one in bundle.imports.values()}
    others = sorted(tops - sys.stdlib_module_names - {"torch"})
    return f"PyTorch {torch.__version__.partition('+')[0]} (or near it)" + "".join(f", {name}" for name in others) + ("" if others else " alone")  # fmt: skip


def _expected(metrics: Mapping[str, float] | None, printed: set[str]) -> str:
    """The run's metrics, those that the script prints."""
    known = {
        name: value for name, value in sorted((metrics or {}).items()) if name.rpartition("/")[2] in printed
    }
    if not known:
        return ""
    listed = ", ".join(f"{name} {value:.6g}" for name, value in known.items())
    return "\n" + textwrap.fill(f"To be reproduced to within float rounding: {listed}.", 116)


def _data(trainer: Trainer, task: Task) -> dict[str, Tensor]:
    """The run's own splits: `train_x`, `train_y`, …"""
    tensors: dict[str, Tensor] = {}
    for name, split in task.splits.items():
        rows = trainer.data.rows.get(name)
        x, y = (
            (split.in_memory, split.y)
            if rows is None
            else (trainer.data.pool.x[rows[0]], trainer.data.pool.y[rows[0]])
        )
        tensors |= {f"{name}_x": x.clone(), f"{name}_y": y.clone()}
    return tensors


def _subclasses(kind: type[Norm]) -> set[type[Norm]]:
    """All of them, at any depth."""
    return {own for direct in kind.__subclasses__() for own in (direct, *_subclasses(direct))}
