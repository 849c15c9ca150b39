"""A layer that is one of several alternatives, chosen per lane."""

from __future__ import annotations

from torch import Tensor, nn

from ablate.surgery.layer_proxy import LayerProxy


class Switch(LayerProxy):
    """The layer of a slot: one of several branches, chosen per lane.

    `otherwise` is the layer that surgery found here (the identity where there was none) and is used by lanes that have
    none of the branches. Only the branches that some lane of the group has are built. A branch may hold plain numbers that
    differ between lanes: each lane runs its own Switch.

    `picked`: this lane's branch, "" for `otherwise`.
    `channels_last`: channels are the last dimension here (tokens `[B, T, C]`); branches still see them as dimension 1.
    `otherwise` sees what it always saw.
    `shared`: other layers use parameters of `otherwise` too.
    `shape`: of the activations that pass here, with the example's batch dimension first.
    """

    inner = "otherwise"

    def __init__(
        self, otherwise: nn.Module, *, channels_last: bool = False, shape: tuple[int, ...] = ()
    ) -> None:
        super().__init__()
        self.otherwise = otherwise
        self.branches = nn.ModuleDict()
        self.shape = shape
        self.channels_last = channels_last
        self.picked = ""
        self.shared = False

    def add(self, name: str, branch: nn.Module, on: bool) -> None:
        """Add a branch, chosen in this lane if `on`. Parameters of branches not chosen are zero, so that weight decay leaves them unchanged
        and a penalty on all weights is the same as in a model without them."""
        if on:
            self.picked = name
        if not (on and self.shared):
            for parameter in (self.otherwise if on else branch).parameters():
                nn.init.zeros_(parameter)
        self.branches[name] = branch

    @property
    def chosen(self) -> nn.Module:
        """This lane's branch."""
        return self.branches[self.picked] if self.picked else self.otherwise

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor
        if self.picked and self.channels_last:
            y = self.chosen(x.movedim(-1, 1))
            return y.movedim(1, -1)
        y = self.chosen(x)
        return y
