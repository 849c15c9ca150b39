"""Formatting of numbers: units, signs, intervals, few digits, true minus signs, thin spaces."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, isfinite, log10
from typing import Any

from ablate.records.digits import NEAR_ONE, rounded_text
from ablate.records.words import noun

NONE = "–"
MINUS = "\N{MINUS SIGN}"
THIN = "\N{NARROW NO-BREAK SPACE}"
TIMES = "\N{MULTIPLICATION SIGN}"
_FRACTIONS = (
    "accuracy", "error", "recall", "precision", "f1", "ece", "auc", "auroc", "specificity", "sensitivity", "iou",
)  # fmt: skip
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class Units:
    """The format of the values of one metric. `factor`: from stored to displayed values."""

    factor: float
    unit: str
    difference: str
    digits: int | None

    @classmethod
    def of(cls, metric: str, margin: float | None = None, *, standardised: bool = False) -> Units:
        """Fractions (accuracy, error, recall, ECE …) are shown as per cent and percentage points, errors of `standardised` targets as their
        standard deviations (SD).

        Others have three significant digits, or, with a `margin`, all the same decimals: two digits below the margin's first.
        """
        last = metric.rsplit("/", 1)[-1].lower()
        if any(last == name or last.endswith(f"_{name}") for name in _FRACTIONS):
            return cls(100.0, f"{THIN}%", f"{THIN}pp", 2)
        has_margin = margin is not None and isfinite(margin) and margin > 0
        unit = f"{THIN}SD" if standardised and last in ("rmse", "mae") else ""
        return cls(1.0, unit, unit, max(0, 2 - floor(log10(margin))) if margin and has_margin else None)

    @property
    def label(self) -> str:
        """The unit of values behind a name: ` (%)`, ` (SD)`, or nothing."""
        return f" ({self.unit.strip()})" if self.unit else ""

    @property
    def label_of_difference(self) -> str:
        """The unit of differences behind a name: ` (pp)`, ` (SD)`, or nothing."""
        return f" ({self.difference.strip()})" if self.difference else ""

    def value(self, number: Any) -> str:
        """`97.25 %`, or three significant digits."""
        return NONE if missing(number) else self._digits(number) + self.unit

    def effect(self, number: Any) -> str:
        """A difference with its sign, without its unit: `+1.24`."""
        return NONE if missing(number) else self._digits(number, sign=True)

    def interval(self, low: Any, high: Any) -> str:
        """`+0.40 to +2.08`, no unit."""
        if missing(low) and missing(high):
            return NONE
        return f"{self.effect(low)} to {self.effect(high)}"

    def _digits(self, number: Any, *, sign: bool = False) -> str:
        scaled = float(number) * self.factor
        if self.digits is None or not isfinite(scaled):
            return significant(scaled, sign=sign)
        return minus(f"{scaled:{'+' if sign else ''}.{self.digits}f}")


def missing(number: Any) -> bool:
    """Whether a value is None, NaN or not a number."""
    if number is None or isinstance(number, str):
        return True
    return bool(number != number)


def minus(text: str) -> str:
    """ASCII number -> typeset: a true minus sign, and no sign on a zero."""
    if not any(digit in text for digit in "123456789") and "inf" not in text:
        text = text.lstrip("+-")
    return text.replace("-", MINUS).replace("inf", "∞")


def significant(number: Any, digits: int = 3, *, sign: bool = False) -> str:
    """Three significant digits; very small and large numbers as `1.2·10⁻⁵`."""
    if missing(number):
        return NONE
    number = float(number)
    plus = "+" if sign else ""
    if not isfinite(number):
        return minus(f"{number:{plus}}")
    if number == 0:
        return "0"
    power = floor(log10(abs(number)))
    if -4 <= power < 6:
        decimals = max(0, digits - 1 - power)
        return minus(f"{number:{plus}.{decimals}f}")
    mantissa = f"{number / 10.0**power:{plus}.{digits - 1}f}".rstrip("0").rstrip(".")
    return minus(mantissa) + "·10" + str(power).translate(_SUPERSCRIPT)


def setting(value: Any) -> str:
    """A trick's setting, short: 0.0123 rather than 0.012345678, but 0.9995 rather than 1."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if abs(1 - value) < NEAR_ONE:
            return rounded_text(value)
        shown = significant(value)
        return shown.rstrip("0").rstrip(".") if "." in shown and "·" not in shown else shown
    return str(value)


def power_of_ten(number: float) -> str:
    """A tick on a logarithmic axis: 10⁻³, or the plain number between 0.1 and 100."""
    if number <= 0:
        return ""
    power = round(log10(number))
    if 0.09 < number < 101:
        return f"{number:g}"
    return "10" + str(power).translate(_SUPERSCRIPT)


def ratio(number: Any) -> str:
    """A cost relative to the run without the trick: `×1.25`."""
    return NONE if missing(number) else f"{TIMES}{float(number):.2f}"


def probability(number: Any) -> str:
    """A p-value: two or three decimals, or `< 0.001`."""
    if missing(number):
        return NONE
    return "< 0.001" if number < 0.001 else f"{number:.3f}" if number < 0.1 else f"{number:.2f}"


def count(number: Any) -> str:
    """An integer with thin spaces between thousands."""
    return NONE if missing(number) else f"{int(number):,}".replace(",", THIN)


def duration(seconds: Any) -> str:
    """`0.4 s`, `38 s`, `3 min 05 s`, `2 h 07 min`."""
    if missing(seconds):
        return NONE
    seconds = float(seconds)
    if seconds < 9.95:
        return f"{seconds:.1f}{THIN}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{THIN}s"
    minutes, remainder = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}{THIN}min {remainder:02d}{THIN}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{THIN}h {minutes:02d}{THIN}min"


def plural(number: int, word: str, words: str = "") -> str:
    """`1 run`, `2 runs`."""
    return f"{count(number)} {noun(number, word, words)}"
