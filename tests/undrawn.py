"""Reports without finished drawings: most of the time that a report takes is layout and writing by matplotlib.

A process that a test starts imports this module from the folder `tests` and calls `leave_drawings_empty`.
"""

from __future__ import annotations

from io import StringIO
from typing import Any

from matplotlib.figure import Figure


def empty_drawing(figure: Figure, file: StringIO, **_: Any) -> None:
    """`Figure.savefig`, but an SVG of the right size with nothing in it."""
    width, height = figure.get_size_inches() * 72
    file.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"/>')


def leave_drawings_empty() -> None:
    """For the rest of this process."""
    Figure.savefig = empty_drawing  # type: ignore[method-assign]
