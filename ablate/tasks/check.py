"""Checks whether a task can be trained: runs the model once on a few examples, before anything is written."""

from __future__ import annotations

import re
from itertools import combinations

import torch
from torch import Tensor, nn

from ablate.records.errors import InputError
from ablate.tasks.check_outputs import check_loss, check_metrics, check_shape
from ablate.tasks.image_layout import CHANNELS, check_layout, first_convolution_input
from ablate.tasks.lazy import materialised
from ablate.tasks.model_outputs import prediction
from ablate.tasks.split import Split
from ablate.tasks.streamed import Inputs, Streamed
from ablate.tasks.task import Task
from ablate.tasks.token_ids import EMBEDDINGS
from ablate.tasks.user_code import UserCode, repeatable, without_nested_notice

BATCH = 8


def check(task: Task) -> tuple[str, ...]:
    """Raise InputError for data or a model that cannot be trained; return warnings about what is unusual but valid.

    Restores every random generator. Costs two models, two forward passes of 8 examples, and a pass over
    the data.
    """
    without_nested_notice()
    _shapes(task)
    for where, split in task.splits.items():
        _finite(split.x, f"{where} x", split)
        _finite(split.y, f"{where} y", split)
    notes = _targets(task)
    with repeatable():
        output = _outputs(task, _fresh_model(task))
        notes += check_loss(task, output)
        notes += check_metrics(task)
    return (*notes, *_shared_rows(task))


def _shapes(task: Task) -> None:
    train = task.train
    for where, split in task.splits.items():
        for letter, ours, theirs in (("x", split.x, train.x), ("y", split.y, train.y)):
            if ours.shape[1:] != theirs.shape[1:]:
                raise InputError(
                    f"{where} {letter} has examples of shape {list(ours.shape[1:])}, "
                    f"train {letter} of shape {list(theirs.shape[1:])}",
                    hint="prepare all splits in the same way",
                )


def _finite(values: Inputs, where: str, split: Split) -> None:
    if isinstance(values, Streamed):
        bad = torch.from_numpy(values.broken)
    elif values.is_floating_point():
        bad = ~values.isfinite().reshape(len(values), -1).all(1)
    else:
        return
    if count := int(bad.sum()):
        row = int(bad.nonzero()[0])
        what = "NaN" if values[row : row + 1].isnan().any() else "infinity"
        rows = "1 example" if count == 1 else f"{count} examples"
        hint = "fill the gaps or drop those examples"
        dealt = " of the training data that was given" if split.rows is not None else ""
        raise InputError(
            f"{where} holds {what} in {rows}, first at row {split.row(row)}{dealt} (the first is 0)",
            hint=hint,
        )


def _targets(task: Task) -> list[str]:
    y = task.train.y
    if task.criterion in ("custom", "adversarial", "detection"):
        return []
    if task.dense:
        classes = torch.unique(y[y >= 0])
        if len(classes) == 1:
            raise _one_class(task, int(classes[0]))
        return []
    if task.criterion == "multilabel":
        alike = int((y == y[0]).all(0).sum())
        if alike == y.shape[1]:
            raise InputError("train y is the same for all examples: there is nothing to learn")
        return [f"{alike} of {y.shape[1]} labels are the same in all training examples"] if alike else []
    if task.classes is None:
        constant = (y == y[0]).all(0)
        if constant.any():
            column = int(constant.nonzero()[0])
            raise InputError(f"train y is {float(y[0, column]):g} everywhere: there is nothing to learn")
        return []
    counts = y.bincount(minlength=task.classes)
    if int((counts > 0).sum()) == 1:
        raise _one_class(task, int(y[0]))
    absent = (counts == 0).nonzero().flatten().tolist()
    if not absent:
        return []
    names = ", ".join(str(label) for label in absent[:5]) + (", …" if len(absent) > 5 else "")
    return [f"{len(absent)} of {task.classes} classes have no training example: {names}"]


def _one_class(task: Task, label: int) -> InputError:
    name = f"{label} ('{task.labels[label]}')" if label < len(task.labels) else str(label)
    return InputError(f"train y holds one class only, {name}", hint="give examples of at least two classes")


def _fresh_model(task: Task) -> nn.Module:
    hint = "give a function without arguments: model=lambda: MyNet(…)" if isinstance(task.model, type) else ""
    with UserCode("making the model", hint=hint) as running:
        try:
            model, other = task.model(), task.model()
        except TypeError as error:
            running.hint = _arguments_missing(str(error)) or hint
            raise
        except AttributeError as error:
            if "before Module.__init__() call" not in str(error):
                raise
            raise InputError(
                "the model's __init__ sets a layer first", hint="begin it with super().__init__()"
            ) from error
    if not isinstance(model, nn.Module):
        hint = "model=lambda: MyNet()"
        raise InputError(
            f"model() returned an object of type {type(model).__name__}, not an nn.Module", hint=hint
        )
    parameters = list(materialised(model, task.train.x[:BATCH]).parameters())
    if not any(parameter.requires_grad for parameter in parameters):
        raise InputError("the model has no trainable parameters", hint="there is nothing to train")
    if {id(parameter) for parameter in parameters} & {id(parameter) for parameter in other.parameters()}:
        hint = "build it inside the function: model=lambda: MyNet()"
        raise InputError("model() gives the same module, or the same weights, at each call", hint=hint)
    return model


def _arguments_missing(error: str) -> str:
    """What to do about the TypeError of a call that misses arguments; "" for another one."""
    found = re.match(r"([\w.<>]+)\(\) missing \d+ required [\w-]+ arguments?: (.*)", error)
    if found is None:
        return ""
    called = found[1].removesuffix(".__init__").rpartition(".")[2]
    arguments = ", ".join(f"{name}=…" for name in re.findall(r"'(\w+)'", found[2]))
    name = "build" if called == "<lambda>" else called
    return f"the model is made by a call without arguments: give them in a function, model=lambda: {name}({arguments})"


def _outputs(task: Task, model: nn.Module) -> Tensor:
    """The fresh model's outputs on some training examples. Raises InputError if they do not fit the criterion."""
    x = task.train.x[:BATCH]
    hint = f"its input is {str(x.dtype).removeprefix('torch.')} of shape {list(x.shape)}"
    if task.train.packing is not None:
        hint = f"its inputs are {task.train.packing}"
        if isinstance(task.train.packing.unpack(x), dict):
            hint += ", which reach forward as keyword arguments of these names"
    elif x.is_floating_point() and any(isinstance(layer, EMBEDDINGS) for layer in model.modules()):
        hint += '; token ids stay whole numbers with kind="text"'
    elif rows := [layer.num_embeddings for layer in model.modules() if isinstance(layer, EMBEDDINGS)]:
        hint += (
            f"; its ids go up to {int(x.max())}, and an embedding has {min(rows)} rows"
            if not x.is_floating_point()
            else ""
        )
    if x.is_floating_point() and (
        wide := [name for name, weight in model.named_parameters() if weight.dtype == torch.float64]
    ):
        hint += f"; ablate trains in float32 and gives inputs as float32, but the weight '{wide[0]}' is float64: make the model by model=lambda: MyNet().float()"
    if task.kind == "image" and x.shape[-1] in CHANNELS and x.shape[1] not in CHANNELS:
        hint += "; images are [N, C, H, W]: x.permute(0, 3, 1, 2)"
    with (
        UserCode("the model's forward pass", hint=hint),
        first_convolution_input(model) as seen,
    ):
        output = model.train()(x)
    if task.kind == "image":
        check_layout(list(task.train.x.shape), seen[0] if seen else None)
    if not isinstance(output, Tensor):
        prediction(output, None)
        hint = 'give output="logits" to the task, or return one tensor'
        raise InputError(
            f"the model returned an object of type {type(output).__name__}, not a tensor", hint=hint
        )
    check_shape(task, list(task.evaluation.predicted(output).shape), len(x))
    if not output.is_floating_point():
        raise InputError(f"the model returned {output.dtype}", hint="return floating-point logits")
    if not output.requires_grad:
        hint = "look for torch.no_grad(), detach() and requires_grad_(False) in it"
        raise InputError("the model's output depends on no parameter that is trained", hint=hint)
    if not output.isfinite().all():
        hint = "check its initialisation, and the scale of the inputs"
        broken = [name for name, weight in model.named_parameters() if not weight.isfinite().all()]
        whose = f"the fresh model's weight '{broken[0]}'" if broken else "the fresh model's output"
        raise InputError(f"{whose} is not finite (NaN or infinity)", hint=hint)
    _evaluated(model, x, output)
    return output


def _evaluated(model: nn.Module, x: Tensor, trained: Tensor) -> None:
    """Raise InputError if the model fails in eval mode, in which validation data are predicted, or returns another form than in training."""
    with UserCode("the model's forward pass in eval mode"), torch.no_grad():
        output = model.eval()(x)
    form = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
    if form != list(trained.shape):
        raise InputError(
            f"in eval mode the model returns {form}, in training {list(trained.shape)}",
            hint="return the same form in both: metrics are computed from the outputs in eval mode",
        )


def _shared_rows(task: Task) -> list[str]:
    """Examples that occur, bit for bit, in two splits: they make results optimistic."""
    rows = {where: split.row_keys() for where, split in task.splits.items()}
    notes = []
    for one, other in combinations(rows, 2):
        keys = set(rows[one])
        if shared := sum(row in keys for row in rows[other]):
            notes.append(
                f"{shared} of {len(rows[other])} {other} examples also occur in {one} data, with equal inputs"
            )
    return notes
