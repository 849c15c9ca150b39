"""A recipe's changes to the model as the lines of a script: what surgery has changed, written as a person would."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from ablate.catalogue.registry import Registry
from ablate.export.bundle import Bundle
from ablate.export.layer_text import Calls, LayerText
from ablate.lanes.build import seeded
from ablate.records.run import Run
from ablate.surgery.attention_dropout import CountedAttention
from ablate.surgery.layers import Site
from ablate.surgery.net import Net
from ablate.surgery.rewrite import DROPOUT, DROPPED, FUNCTION, GATE
from ablate.surgery.switch import Switch

PLAIN = "ablate.export.plain"
INIT = "initialization"


ADDED = (GATE, DROPPED, FUNCTION, DROPOUT)


@dataclass
class Surgery:
    """`net`: the run's model after surgery; `calls`: how its layers were made; `users`: the layers that the user's function made, by path.
    `fresh`: another such model, before surgery."""

    net: Net
    calls: Calls
    users: Mapping[str, nn.Module]
    fresh: nn.Module
    run: Run
    catalogue: Registry
    _sites: set[str] = field(default_factory=set, init=False)

    def lines(self, bundle: Bundle) -> Iterator[str]:
        """Statements that change the variable `model`; what they use is put into `bundle`. Raises InputError."""
        recipe = self.run.recipe
        if "remove_weight_norm" in recipe:
            weight_norms = bundle.add("ablate.surgery.weight_norms", "weight_norms")
            yield f"for _, remove in {weight_norms}(model):"
            yield "    remove()"
        yield from self._attention(bundle)
        names = [name for name in recipe if self.catalogue[name].seam == "model" and name != INIT]
        for name in names:
            bundle.trick_module(self.catalogue.code(name), Path(self.catalogue.entry(name).path))
        seeds = {seeded(self.run.seed, f"surgery {name}"): f"{name}_generator" for name in names}
        text = LayerText(bundle, self.calls, self._layer_expressions(), seeds)
        changes = list(self._replaced(text))
        for seed, variable in seeds.items():
            if any(variable in line for line in changes):
                yield f"{variable} = torch.Generator().manual_seed({seed})"
        yield from changes
        yield from self._rewritten(bundle, text)
        if INIT in recipe:
            yield from self._initialization(bundle)
        if self.net.touched and any(isinstance(m, nn.MultiheadAttention | nn.TransformerEncoderLayer) for m in self.fresh.modules()):  # fmt: skip
            yield "torch.backends.mha.set_fastpath_enabled(False)  # the fast path would bypass the wrappers around these weights"

    def _layer_expressions(self) -> dict[int, str]:
        """The user's layers and their parameters, by their paths."""
        expressions: dict[int, str] = {}
        for path, layer in self.users.items():
            expression = f'model.get_submodule("{path}")' if path else "model"
            expressions.setdefault(id(layer), expression)
            for name, parameter in layer._parameters.items():
                if parameter is not None:
                    expressions[id(parameter)] = f"{expression}.{name}"
        return expressions

    def name_in_script(self, name: str) -> str:
        """The script's name of one of the user's parameters; "" for one whose layer was removed. Call after `lines`."""
        path, _, parameter = name.rpartition(".")
        for outer in (path, *(path[:end] for end, letter in enumerate(path) if letter == ".")):
            module = self.net._replaced.get(outer)
            if isinstance(module, Switch):
                if module.picked:
                    return ""
            elif (module is not None and not isinstance(module, Site)) or (
                isinstance(module, Site) and isinstance(module.layer, Switch) and module.layer.picked
            ):
                return ""
        return f"{path}.layer.{parameter}" if path in self._sites else name

    def _attention(self, bundle: Bundle) -> Iterator[str]:
        changed = dict(self.net.module.named_modules())
        for path, layer in self.fresh.named_modules():
            now = changed.get(path)
            if not (isinstance(layer, nn.MultiheadAttention) and isinstance(now, nn.MultiheadAttention)):
                continue
            if isinstance(now, CountedAttention) and now.dropout > 0:
                count = bundle.add("ablate.surgery.attention_dropout", "count_draws")
                yield f'{count}(model.get_submodule("{path}"), {now.dropout!r}, "model/{path}")'
            elif now.dropout != layer.dropout:
                yield f'model.get_submodule("{path}").dropout = {now.dropout!r}'

    def _replaced(self, text: LayerText) -> Iterator[str]:
        net = self.net
        ordered = [info.path for info in net.layer_infos if info.path in net._replaced]
        order = dict.fromkeys([*ordered, *net._replaced])
        paths: dict[int, list[str]] = {}
        for path, module in net.module.named_modules(remove_duplicate=False):
            paths.setdefault(id(module), []).append(path)
        for path in order:
            module = net._replaced[path]
            if isinstance(module, Site):
                layer = f'model.get_submodule("{path}")' if path else "model"
                made = self._site(text, module, layer)
            elif isinstance(module, Switch):
                made = text.of(module) if module.picked else ""
            else:
                made = text.of(module)
            if made:
                yield from self._put(paths.get(id(module), [path]), made)

    def _put(self, paths: list[str], made: str) -> Iterator[str]:
        if paths == [""]:
            yield f"model = {made}"
            return
        if len(paths) > 1:
            yield f"shared = {made}"
        for path in paths:
            value = made if len(paths) == 1 else "shared"
            if path in self.users:
                yield f'model.set_submodule("{path}", {value})'
            else:  # in torch's transformer layers, a function
                parent, _, name = path.rpartition(".")
                yield f'model.get_submodule("{parent}").{name} = {value}'

    def _site(self, text: LayerText, site: Site, layer: str) -> str:
        before = [text.of(module) for module in site.before]
        norm = [text.of(site.norm)] if site.norm is not None and site.norm.picked else []
        after = [text.of(module) for module in site.after if not isinstance(module, Switch) or module.picked]
        parts = {
            "before": before,
            "weight": [text.of(module) for module in site.weight_transforms],
            "after": [*norm, *after],
        }
        dead_bias = site.bias_gate is not None and not float(site.bias_gate.on)
        skip = site.residual is not None and float(getattr(site.residual, "on", 0)) > 0
        replaced = isinstance(site.layer, Switch) and bool(site.layer.picked)
        if replaced:
            layer = text.of(site.layer)
        if not (any(parts.values()) or dead_bias or skip):
            return layer if replaced else ""
        self._sites.add(site.path)
        name = text.bundle.add(PLAIN, "Site")
        arguments = [f"{key}=[{', '.join(before)}]" for key, before in parts.items() if before]
        arguments += [f"{key}=True" for key, on in (("dead_bias", dead_bias), ("skip", skip)) if on]
        return f"{name}({layer}, {', '.join(arguments)})"

    def _initialization(self, bundle: Bundle) -> Iterator[str]:
        code = self.catalogue.code(INIT)
        settings = self.run.recipe[INIT]
        names = [name for name, _ in code.affine_layers(self.net)]
        draw = bundle.add(code.__name__, "draw", "initialise")
        number = bundle.add("ablate.seams.draws", "stream_number")
        generator = f"torch.Generator().manual_seed({seeded(self.run.seed, f'surgery {INIT}')})"
        yield f"root = int(torch.randint(2**31, (), generator={generator}))"
        yield from _wrapped("for name in (", [f'"{name}"' for name in names], "):")
        yield '    path, _, part = name.partition("/")'
        yield "    layer = model.get_submodule(path)"
        if self._sites:
            yield "    layer = layer.layer if isinstance(layer, Site) else layer"
        yield "    layer = layer.get_submodule(part)"
        yield f'    own = torch.Generator().manual_seed({number}(f"{{root}} {{name}}") & 0x7FFFFFFF)'
        yield f"    {draw}(layer.weight, {settings['scheme']!r}, {settings['gain']!r}, own)"
        yield "    if layer.bias is not None:"
        yield "        nn.init.zeros_(layer.bias)"

    def _rewritten(self, bundle: Bundle, text: LayerText) -> Iterator[str]:
        """Blocks whose `forward` surgery has rewritten: without residual additions, with layers that drop branches, with other activations."""
        bodies: dict[str, list[str]] = {}
        for path, block in self.net.module.named_modules():
            written = vars(type(block)).get("forward")
            layers = {name: layer for name, layer in block._modules.items() if name.startswith(ADDED)}
            if written is None or not layers:
                continue
            if not any(name.startswith(GATE) or _differs(layer) for name, layer in layers.items()):
                continue
            bodies.setdefault(_body(written), []).append(path)
            yield from (f'model.get_submodule("{path}").{name} = {text.of(layer)}' for name, layer in layers.items() if not name.startswith(GATE))  # fmt: skip
        for number, (body, paths) in enumerate(bodies.items(), 1):
            name = f"rewritten_forward_{number}"
            bundle.reserve(name)
            bundle.parts.append(body.replace("def forward(", f"def {name}(", 1))
            yield from _wrapped("for name in (", [f'"{path}"' for path in paths], "):")
            yield "    block = model.get_submodule(name)"
            yield f"    block.forward = {name}.__get__(block)"


def _differs(layer: nn.Module | None) -> bool:
    """Whether a layer that surgery added computes something else than what it replaced."""
    return not isinstance(layer, Switch) or bool(layer.picked)


def _body(forward: object) -> str:
    """The text of a `forward` that surgery wrote, without annotations; a gate, which is closed here, returns the branch without the addition."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(forward)))  # type: ignore[arg-type]

    class _WithoutGates(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.AST:
            self.generic_visit(node)
            return node.args[1] if ast.unparse(node.func).startswith(f"self.{GATE}") else node

        def visit_arg(self, node: ast.arg) -> ast.AST:
            node.annotation = None
            return node

        def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
            node.returns = None
            return self.generic_visit(node)

    return ast.unparse(_WithoutGates().visit(tree))


def _wrapped(start: str, items: list[str], end: str) -> Iterator[str]:
    """`start` item, item, … `end` on lines of bearable length."""
    if len(items) == 1:
        items = [f"{items[0]},"]
    line = f"{start}{', '.join(items)}{end}"
    if len(line) <= 100:
        yield line
        return
    yield start
    for line in textwrap.wrap(", ".join(items), 90, break_long_words=False):
        yield f"    {line.rstrip(',')},"
    yield end
