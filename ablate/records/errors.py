"""Errors shown to the user in one line: what is wrong, what to do about it, and the exit code."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class AblateError(Exception):
    """A failure reported in one line, `message; hint`. Commands exit with `exit_code`."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message = " ".join(message.split())
        self.hint = " ".join(hint.split())
        super().__init__(f"{self.message}; {self.hint}" if self.hint else self.message)


class InputError(AblateError):
    """Invalid user input: an argument, a file, a model or data. Exit code 2."""

    exit_code = 2


class NotApplicable(AblateError):
    """A trick has nothing to act on in this model or task. Raised rather than training the baseline silently."""


class GateFailed(AblateError):
    """A step of lr-find failed. The ledger has the steps."""


class Conflict(InputError):
    """Two tricks that cannot be combined."""


LONGEST = 400
"""Characters of a list of names in an error."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """`did you mean 'x'?` for the closest of `choices`; an empty string if none is close."""
    names = list(choices)
    lowered = {name.lower(): name for name in names}
    close = get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.6)
    return f"did you mean '{lowered[close[0]]}'?" if close else ""


def unknown(kind: str, word: str, choices: Iterable[str]) -> InputError:
    """The error for an unknown name: the kind of name and the closest choice, or the list of choices; of very many, the closest three."""
    names = sorted(choices)
    hint = did_you_mean(word, names) or f"known: {', '.join(names)}"
    if len(hint) > LONGEST:
        close = get_close_matches(word.lower(), names, n=3, cutoff=0.4)
        some = (
            f"the closest of {len(names)} are {', '.join(close)}"
            if close
            else f"none of {len(names)} is close"
        )
        hint = f"{some}; ablate tricks lists all" if "trick" in kind else some
    return InputError(f"unknown {kind} '{word}'", hint=hint)
