"""The lines that the recipe's tricks add to a script's training loop: their ports called in the engine's order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from ablate.catalogue.registry import Registry
from ablate.catalogue.torch_optimizer import optimizer_path
from ablate.export.bundle import Bundle
from ablate.export.task_text import TaskText
from ablate.records.errors import InputError
from ablate.records.run import Run
from ablate.records.trick import Parameter, Value

HARMLESS = {"recompute": "recompute is left out: it saves memory and changes no number"}
"""Tricks of the precision seam that a script leaves out, since they change no number."""
PORTS = (
    "batch", "sample", "position", "target", "logits", "example_loss", "example_weight", "mean_loss", "penalty", "objective",
    "gradient", "state", "update", "scored", "decay", "factor", "context", "begin", "scale", "unscale", "average", "averaged",
    "choose", "views", "ensemble",
)  # fmt: skip


class LoopText:
    """What each trick of a run adds to the loop. `untrained`: parameters that the run leaves as they are."""

    def __init__(
        self,
        run: Run,
        catalogue: Registry,
        bundle: Bundle,
        judged: TaskText,
        untrained: tuple[str, ...],
    ) -> None:
        self.run, self.catalogue, self.bundle, self.judged = run, catalogue, bundle, judged
        self.untrained = untrained
        self.calls: dict[str, list[tuple[str, str]]] = {port: [] for port in PORTS}
        self.variables: dict[str, str] = {}
        self.left_out: list[str] = []
        self.torch_class = ""

    def add(self, name: str) -> None:
        """Put the functions of the trick `name` into the bundle. Raises InputError."""
        if name in HARMLESS:
            self.left_out.append(HARMLESS[name])
            return
        code = self.catalogue.code(name)
        if path := optimizer_path(code):
            module, _, attribute = path.rpartition(".")
            self.torch_class = self.bundle.imported(module, attribute)
            self.variables[name] = self.bundle.free_name(name, "settings")
            return
        module = self._module(code, name)
        for port in (port for port in PORTS if callable(getattr(code, port, None))):
            called = self.bundle.add(module, port, f"{name}_{port}")
            self.calls[port].append((name, called))
            if name not in self.variables:
                self.variables[name] = self.bundle.free_name(name, "settings")

    def _module(self, code: ModuleType, name: str) -> str:
        path = self.catalogue.entry(name).path
        return self.bundle.trick_module(code, Path(path))

    @property
    def optimizer(self) -> str:
        """The trick that fills the slot of the optimizer. Raises InputError."""
        optimizer = self.run.recipe.slot(self.catalogue, "optimizer")
        if optimizer is None:
            raise InputError("the recipe has no optimizer")
        return optimizer

    def each(self, port: str, text: Callable[[str, str, str], str]) -> list[str]:
        """`text(function, settings, trick)` for each trick with `port`."""
        return [text(called, self.variables[name], name) for name, called in self.calls[port]]

    def lines(self) -> dict[str, Any]:
        """The template's values."""
        objectives, inner = [], "loss"
        for name, called in self.calls["objective"]:
            wrapped = f"{name}_loss"
            objectives.append(
                {"name": wrapped, "call": called, "inner": inner, "settings": self.variables[name]}
            )
            inner = wrapped
        contexts = self.each("context", lambda f, p, _: f"{f}({p}, x.device)")
        return {
            "settings": [self._settings(name) for name in self.variables],
            "states": self._states(),
            "order": [
                *self.each("sample", lambda f, p, name: f'order = {f}(order, y.expand(1, -1), draws.within("{name}"), {p})'),
                *self.each("position", lambda f, p, _: f"order = order.gather(1, {f}(torch.arange(order.shape[1]), BATCH_SIZE, {p}))"),
            ],
            "batch": self.each("batch", lambda f, p, name: f'batch = {f}(batch, draws.within("{name}"), {p})'),
            "loss": self._loss(),
            "objectives": objectives,
            "objective": inner,
            "contexts": [f"with {', '.join(contexts)}:"] if contexts else [],
            "scale": self.each("scale", lambda f, p, name: f"losses = {f}(losses, {name}_state, {p})"),
            "update": self._update(),
            "after": self.each("average", lambda f, p, name: f"{f}({name}_state, weights, torch.tensor([step]), {p})"),
            "scored": self._scored(),
            "views": self.each("views", lambda f, p, _: f"outputs = {f}(run, rows[None], outputs, {p})"),
            "ensembles": self.each("ensemble", lambda f, p, name: f"outputs = {f}(run, {name}_state, given, rows[None], outputs, {p})"),
            "choose": next(iter(self.each("choose", lambda f, p, _: f"{f}(torch.tensor([losses_by_epoch], dtype=torch.float64), {p})")), ""),
        }  # fmt: skip

    def _settings(self, name: str) -> str:
        parameters = {one.name: one for one in self.catalogue[name].parameters}
        given = "".join(
            f", {key}={_text(value, parameters[key])}" for key, value in self.run.recipe[name].items()
        )
        made = self.bundle.add("ablate.seams.settings", "Settings")
        return f"{self.variables[name]} = {made}(facts{given})"

    def _states(self) -> list[str]:
        lines = self.each("state", lambda f, p, _: f"state = {f}(weights)")
        if self.torch_class:
            name = self.optimizer
            parameters = {one.name: one for one in self.catalogue[name].parameters}
            given = "".join(
                f", {key}={_number(value, parameters[key])}" for key, value in self.run.recipe[name].items()
            )
            lines = [
                "trained = [nn.Parameter(tensor[0]) for tensor in weights.values()]  # views: a step writes to `weights`",
                f"optimizer = {self.torch_class}(trained{given})",
            ]
        return [*lines, *self.each("begin", lambda f, p, name: f"{name}_state = {f}(weights, {p})")]

    def _loss(self) -> list[str]:
        lines = self.each("target", lambda f, p, _: f"target = {f}(target, {p})")
        lines += self.each("logits", lambda f, p, _: f"outputs = {f}(outputs, target, {p})")
        losses = self.each("example_loss", lambda f, p, _: f"losses = {f}(outputs, target, {p})")
        lines += losses or [f"losses = {self.judged.example_loss}"]
        lines += self.each("example_weight", lambda f, p, _: f"losses = losses * {f}(target, {p})")
        lines.append("mean = losses.mean(dim=1) if losses.ndim > 1 else losses" if self.judged.task.loss else "mean = losses.mean(dim=1)")  # fmt: skip
        lines += self.each("mean_loss", lambda f, p, _: f"mean = {f}(mean, {p})")
        return lines + self.each("penalty", lambda f, p, _: f"mean = mean + {f}(given, {p})")

    def _update(self) -> list[str]:
        """Lines that turn `gradients` into new `weights`; `step` counts the steps before."""
        skips = self.each(
            "unscale", lambda f, p, name: f"gradients, overflow = {f}(gradients, {name}_state, {p})"
        )
        lines = [*skips]
        lines += self.each("gradient", lambda f, p, _: f"gradients = {f}(gradients, weights, {p})")
        settings = self.variables[self.optimizer]
        lines.append(f"rate = {settings}.lr")
        lines += self.each("factor", lambda f, p, _: f"rate = rate * {f}(torch.tensor([step]), total, steps_per_epoch, {p}).float()")  # fmt: skip
        point = "weights"
        if self.calls["decay"]:
            point = "own"
            lines.append("own = weights")
            lines += self.each("decay", lambda f, p, _: f"own, gradients = {f}(own, gradients, rate, {p})")
        if self.torch_class:
            if point == "own":
                lines.append("weights.flat.copy_(own.flat)")
            lines += [
                'optimizer.param_groups[0]["lr"] = float(rate)',
                "for parameter, gradient in zip(trained, gradients.values()):",
                "    parameter.grad = gradient[0].clone()",
                "optimizer.step()",
            ]
            if skips:
                raise InputError("loss scaling cannot be written out together with an optimizer class of torch", hint="export a recipe without amp")  # fmt: skip
            return lines
        (called,) = (called for name, called in self.calls["update"] if name == self.optimizer)
        update = f"{called}({point}, gradients, state, {settings}.at_rate(rate), torch.tensor([step + 1]))"
        if not skips:
            return [*lines, f"weights.flat.copy_({update})"]
        return [
            *lines,
            "before = {name: tensor.clone() for name, tensor in state.items()}",
            f"new = {update}",
            "if overflow:",
            "    state.update(before)",
            "else:",
            "    weights.flat.copy_(new)",
        ]

    def _scored(self) -> list[str]:
        lines = self.each("scored", lambda f, p, _: f"scored = weights.like({f}(weights, state, {p}))")
        return lines + self.each("averaged", lambda f, p, name: f"scored = {f}({name}_state, scored, {p})")


def _text(value: Value, parameter: Parameter) -> str:
    if value == float("inf"):
        return 'float("inf")'
    choice = not parameter.is_number and not isinstance(value, bool | str)
    return f"({value!r},)" if choice else repr(value)


def _number(value: Value, parameter: Parameter) -> str:
    return repr(round(float(value)) if parameter.is_integer and not isinstance(value, bool) else value)
