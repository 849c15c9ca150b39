"""How a task's outputs are evaluated, as text: its target, the loss of an example, the metrics of a split."""

from __future__ import annotations

from typing import Any

from ablate.export.bundle import Bundle
from ablate.export.call_text import call_text
from ablate.export.packing_text import unpacking
from ablate.export.plain_metrics import FUNCTIONS, LOSS
from ablate.records.errors import InputError
from ablate.tasks.batch_loss import BatchForm
from ablate.tasks.custom_metrics import is_torchmetric
from ablate.tasks.task import Task

METRICS = "ablate.export.plain_metrics"
EXAMPLE_LOSS = {
    "classification": ("ablate.tasks.criteria.classification", "example_loss"),
    "regression": ("ablate.tasks.criteria.regression", "example_loss"),
    "multilabel": ("ablate.tasks.criteria.multilabel", "example_loss"),
    "token_classification": (METRICS, "example_loss_of_tokens"),
    "language_modelling": (METRICS, "example_loss_of_tokens"),
    "segmentation": (METRICS, "example_loss_of_pixels"),
}


def not_written(task: Task) -> str:
    """Why there is no script for the task; "" where there is one."""
    if task.train.items is not None:
        return "a script is not written: the training items are drawn anew each epoch by your Dataset, which it cannot hold"
    if any(split.streams for split in task.splits.values()):
        return "a script is not written: the task's examples are streamed because memory cannot hold them, and neither could it"
    if task.loss is not None or task.criterion in EXAMPLE_LOSS:
        return ""
    return f"a script of a task of {task.criterion} is not written: its step is the engine's own"


class TaskText:
    """The parts of a script that depend on the task. Everything that they use is put into `bundle` at once."""

    def __init__(self, task: Task, bundle: Bundle) -> None:
        self.task, self.bundle = task, bundle
        self.left_out: list[str] = []
        self._unpacked: dict[str, str] = {}
        self.joined = "" if task.batch_form is None else self._joined(task.batch_form)
        if task.loss is None:
            self.example_loss = f"{bundle.add(*EXAMPLE_LOSS[task.criterion])}(outputs, target)"
            loss = bundle.add(METRICS, LOSS[task.criterion])
            self.split_loss = f"{loss}({{outputs}}, {{y}})"
        else:
            self.example_loss, self.split_loss = self._own_loss()
        self.metrics = self._metrics()

    def _own_loss(self) -> tuple[str, str]:
        name = self.bundle.free_name("own_loss", "")
        function = call_text(self.bundle, self.task.loss, "the loss")
        given = self._loss_form()
        size = self.task.batch_size
        self.bundle.parts.append(
            f"def {name}(outputs: Tensor, target: Tensor) -> Tensor:\n"
            f'    """The task\'s own loss of a batch `[B, …]`: `[B]`, or the mean."""\n'
            f"    losses: Tensor = {function}({given})\n"
            f"    return losses"
        )
        mean = self.bundle.free_name("own_mean_loss", "")
        self.bundle.parts.append(
            f"def {mean}(outputs: Tensor, y: Tensor) -> float:\n"
            f'    """Over a whole split: the batches\' means, weighted by their examples."""\n'
            f"    parts = zip(outputs.split({size}), y.split({size}))\n"
            f"    return float(sum({name}(own, target).mean().double() * len(target) for own, target in parts) / len(y))"
        )
        return f"{name}(outputs[0], target[0])[None]", f"{mean}({{outputs}}, {{y}})"

    def _joined(self, form: BatchForm) -> str:
        """The name of a function that puts inputs beside targets, as `BatchForm.joined` does."""
        name = self.bundle.free_name("with_inputs", "")
        columns = ", ".join(f"{one}.reshape(len({one}), -1).to({form.columns.dtype})" for one in ("y", "x"))
        self.bundle.parts.append(
            f"def {name}(x: Tensor, y: Tensor) -> Tensor:\n"
            f'    """Targets and inputs `[N, …]` in the columns of one tensor, since the loss takes both."""\n'
            f"    return torch.cat([{columns}], dim=1)"
        )
        return name

    def _loss_form(self) -> str:
        """The arguments of the user's loss, of `outputs` and `target` of a batch."""
        loss, form = self.task.evaluation.loss, self.task.batch_form
        if loss is None or form is None:
            return self._users_form("outputs", "target")
        parts = f"{self._function('batch_parts', form.columns)}(target)"
        inputs, targets = f'{parts}["inputs"]', f'{parts}["targets"]'
        if form.inputs is not None:
            inputs = f"{self._function('batch_inputs', form.inputs)}({inputs})"
        return f"{self._users_outputs('outputs')}, ({inputs}, {self._users_targets(targets)})"

    def _users_form(self, outputs: str, target: str) -> str:
        """The arguments of a function of the user's: outputs and targets as the model gives them and the data have them."""
        return f"{self._users_outputs(outputs)}, {self._users_targets(target)}"

    def _users_outputs(self, outputs: str) -> str:
        loss = self.task.evaluation.loss
        if loss is None:
            return outputs
        if loss.outputs is not None:
            text = f"{self._function('nested_outputs', loss.outputs)}({outputs})"
            if isinstance(loss.outputs.leaves[0].path[0], int):
                return text
            return f"{self.bundle.add('ablate.tasks.model_outputs', 'Outputs')}({text})"
        return f"{outputs}.reshape(len({outputs}), *{loss.shape!r})"

    def _predicted(self, outputs: str) -> str:
        """The prediction among packed outputs."""
        loss = self.task.evaluation.loss
        if loss is None or loss.outputs is None or loss.prediction is None:
            return outputs
        keys = "".join(f"[{key!r}]" for key in loss.prediction)
        return f"{self._users_outputs(outputs)}{keys}"

    def _users_targets(self, target: str) -> str:
        packing = self.task.train.target_packing
        if self.task.loss is None or packing is None:
            return target
        return f"{self._function('nested_targets', packing)}({target})"

    def _function(self, name: str, packing: Any) -> str:
        if name not in self._unpacked:
            self._unpacked[name] = self.bundle.free_name(name, "")
            self.bundle.imported("typing", "Any")
            self.bundle.parts.append(unpacking(self._unpacked[name], packing))
        return self._unpacked[name]

    def _metrics(self) -> dict[str, str]:
        """Metric -> an expression of `outputs` and `y`, of a split; the study's first, then the criterion's and the user's own."""
        wanted = self.task.metric.rpartition("/")[2]
        functions = FUNCTIONS[self.task.criterion]
        expressions = {}
        for name in dict.fromkeys((wanted, *list(functions)[:1], *self.task.metrics)):
            if name in functions:
                expressions[name] = (
                    f"{self.bundle.add(METRICS, functions[name])}({self._predicted('outputs')}, y)"
                )
            elif name in self.task.metrics:
                function = self.task.metrics[name].function
                if is_torchmetric(function):
                    self.left_out.append(
                        f"the metric '{name}' is a torchmetrics object, which the script does without"
                    )
                    continue
                try:
                    called = call_text(self.bundle, function, f"the metric '{name}'")
                except InputError as error:
                    self.left_out.append(f"the metric '{name}' is left out: {error}")
                    continue
                expressions[name] = f"float({called}({self._users_form('outputs', 'y')}))"
            elif name not in ("loss", "log_loss"):
                self.left_out.append(f"the metric '{name}' is not among those that the script measures")
        return expressions

    def _target(self, x: str, y: str) -> str:
        """What the loss gets as the targets of examples."""
        return f"{self.joined}({x}, {y})" if self.joined else y

    def lines(self) -> dict[str, Any]:
        """The template's values."""
        loss = self.split_loss.format(outputs="outputs", y=self._target('data[f"{split}_x"]', "y"))
        classes, criterion = self.task.classes, self.task.criterion
        one_hot = criterion == "classification" and self.task.loss is None
        counts = "None" if classes is None else f"y.bincount(minlength={classes}).float()"
        return {
            "target": f"nn.functional.one_hot(y, {classes}).float()" if one_hot else self._target("x", "y"),
            "counts": counts,
            "validation_loss": self.split_loss.format(
                outputs='predicted(scored, data["validation_x"])',
                y=self._target('data["validation_x"]', 'data["validation_y"]'),
            ),
            "splits": ", ".join(f'"{name}"' for name in self.task.splits if name != "train") + ",",
            "metrics": [
                *(f'metrics[f"{{split}}/{name}"] = {text}' for name, text in self.metrics.items()),
                f'metrics[f"{{split}}/loss"] = {loss}',
            ],
        }
