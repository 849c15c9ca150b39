"""Errors that a person sees: one line, what is wrong, what to do, and the exit code that goes with it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class AblateError(Exception):
    """A failure that is told in one line. Commands exit with `exit_code`."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message = " ".join(message.split())
        self.hint = " ".join(hint.split())
        super().__init__(f"{self.message}; {self.hint}" if self.hint else self.message)


class InputError(AblateError):
    """Something that the user gave (an argument, a file, a model, data) is wrong. Exit code 2."""

    exit_code = 2


class NotApplicable(AblateError):
    """A trick found nothing to act on in this model or task. Never silently the baseline."""


class Conflict(InputError):
    """Two settings that cannot be on together."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """`did you mean 'x'?` for the closest of `choices`, or an empty string."""
    names = list(choices)
    lowered = {name.lower(): name for name in names}
    close = get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.6)
    return f"did you mean '{lowered[close[0]]}'?" if close else ""


def unknown(kind: str, word: str, choices: Iterable[str]) -> InputError:
    """The error for a name that does not exist: names the kind, guesses, else lists what there is."""
    names = sorted(choices)
    hint = did_you_mean(word, names) or f"known: {', '.join(names)}"
    return InputError(f"unknown {kind} '{word}'", hint=hint)
