"""The progress interface of the driver. Commands display it; the default is silent."""

from __future__ import annotations

from typing import Protocol

from ablate.ledger.entry import Entry


class Progress(Protocol):
    """Receives stages, lane-epochs trained, results and remarks. Called from several threads."""

    def stage(self, name: str, lane_epochs: int) -> None:
        """A stage begins, or the current one has `lane_epochs` more to be trained."""

    def trained(self, lane_epochs: int) -> None:
        """`lane_epochs` more have been trained."""
        ...

    def result(self, entry: Entry) -> None:
        """A run has a result."""
        ...

    def say(self, line: str) -> None:
        """A remark for the user."""
        ...

    def finish(self, name: str, seconds: float) -> None:
        """The stage `name` ended after `seconds`."""
        ...


class Silent:
    """Tells nobody."""

    def stage(self, name: str, lane_epochs: int) -> None: ...
    def trained(self, lane_epochs: int) -> None: ...
    def result(self, entry: Entry) -> None: ...
    def say(self, line: str) -> None: ...
    def finish(self, name: str, seconds: float) -> None: ...
