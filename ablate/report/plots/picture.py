"""A drawing as SVG: the same bytes for the same data, no mathtext, colours that follow the page.

Matplotlib writes presentation as `style` attributes, which a strict content security policy forbids; here
they become plain attributes. Text stays text (`svg.fonttype: none`), so it can be read aloud, searched and
set in the page's font. Files in `plots/` keep the light palette and a white ground; in the page, the
palette's colours become CSS variables and so follow light and dark.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from xml.etree import ElementTree

import matplotlib as mpl
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from ablate.report.plots.palette import LIGHT, PAPER, RC

_SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"
_FONT = "DejaVu Sans, Verdana, Segoe UI, Helvetica, Arial, sans-serif"
_TOLD = "tell:"
_LONG = re.compile(r"-?\d+\.\d+")
_REFERENCE = re.compile(r"^(?:url\()?#([^)]+)\)?$")
_VARIABLES = {colour: f"var(--{role})" for role, colour in {**LIGHT, "paper": PAPER}.items()}


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing with its texts. `caption`: what is shown; `alt`: the description for screen readers.

    `svg` is for the page (CSS variables, no ground); `file` for `plots/NAME.svg`. `width` is in pixels. `axes` draws the same on axes of
    matplotlib, where the drawing has a form for one pair of axes.
    """

    name: str
    svg: str
    file: str
    width: int
    caption: str
    alt: str
    axes: Callable[[Axes], None] | None = None


def picture(
    name: str,
    paint: Callable[[Figure], None],
    *,
    width: int = 880,
    height: int,
    caption: str,
    alt: str,
    layout: Literal["constrained"] | None = "constrained",
) -> Picture:
    """Draw `paint(figure)` at `width` × `height` pixels.

    `layout`: matplotlib's engine; None where `paint` places the axes itself (see `panel_grid`): with dozens of axes the
    engine takes longer than the drawing.
    """
    with _settings(name):
        figure = Figure(figsize=(width / 72, height / 72), layout=layout)
        FigureCanvasSVG(figure)
        paint(figure)
        text = io.StringIO()
        figure.savefig(
            text,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    root = ElementTree.fromstring(text.getvalue())
    _tidy(root, alt)
    svg = _serialise(root, _VARIABLES)
    ground = ElementTree.Element(f"{{{_SVG}}}rect", {"width": "100%", "height": "100%", "fill": PAPER})
    root.insert(0, ground)
    root.set("width", str(width))
    root.set("height", str(height))
    head = '<?xml version="1.0" encoding="utf-8"?>\n'
    return Picture(name, svg, head + _serialise(root, {}) + "\n", width, caption, alt)


def panel_grid(
    figure: Figure,
    lines: int,
    columns: int,
    *,
    left: float = 46,
    gap: float = 46,
    bottom: float = 34,
    **options: Any,
) -> Any:
    """`lines` × `columns` axes at fixed positions, as a flat array; margins and the gap between columns in pixels."""
    width, height = figure.get_size_inches() * 72
    top, right, between = 24.0, 10.0, 44.0
    axis_width = (width - left - right - gap * (columns - 1)) / columns
    axis_height = (height - top - bottom - between * (lines - 1)) / lines
    space = {
        "left": left / width, "right": 1 - right / width, "top": 1 - top / height, "bottom": bottom / height,
        "wspace": gap / axis_width, "hspace": between / axis_height,
    }  # fmt: skip
    return figure.subplots(lines, columns, squeeze=False, gridspec_kw=space, **options).ravel()


@contextmanager
def _settings(name: str) -> Iterator[None]:
    """Context: matplotlib's defaults, without the user's matplotlibrc, and ids that depend on the name alone."""
    with warnings.catch_warnings():
        # A glyph that DejaVu lacks is measured as a box here and shown by the reader's own fonts.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        with mpl.rc_context():
            mpl.rcdefaults()
            settings: Any = {**sns.axes_style("ticks"), **RC, "svg.hashsalt": f"ablate:{name}"}
            mpl.rcParams.update(settings)
            yield


def set_tooltip(artist: Artist, text: str) -> None:
    """Show `text` when the pointer is over `artist`."""
    artist.set_gid(_TOLD + text)


def _tidy(root: ElementTree.Element, alt: str) -> None:
    """Attributes instead of styles, two decimals, no unused ids; the root has the description."""
    for element in root.iter():
        name = element.attrib.get("id", "")
        if name.startswith(_TOLD):
            title = ElementTree.Element(f"{{{_SVG}}}title")
            title.text = name.removeprefix(_TOLD)
            element.insert(0, title)
    used = {
        match[1]
        for element in root.iter()
        for key, value in element.attrib.items()
        if key != "id" and (match := _REFERENCE.match(value))
    }
    for parent in list(root.iter()):
        for child in list(parent):
            name = child.tag.removeprefix(f"{{{_SVG}}}")
            if name in ("style", "metadata") or (name in ("g", "defs") and _is_empty(child)):
                parent.remove(child)
    for element in root.iter():
        attributes = element.attrib
        for declaration in attributes.pop("style", "").split(";"):
            key, colon, value = declaration.partition(":")
            if colon and key.strip() != "font-family":
                attributes[key.strip()] = value.strip().removesuffix("px")
        if attributes.get("id") not in used:
            attributes.pop("id", None)
        if _LINK in attributes:
            attributes["href"] = attributes.pop(_LINK)
        if attributes.get("transform", "").startswith("rotate(-0 "):
            del attributes["transform"]
        for key in ("d", "x", "y", "transform", "points", "width", "height", "stroke-width"):
            if key in attributes:
                attributes[key] = " ".join(_LONG.sub(_short, attributes[key]).split())
    for element in root.iter():
        if element.tag.removeprefix(f"{{{_SVG}}}") not in ("text", "tspan", "title"):
            element.text = None
        element.tail = None
    view = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib.update(
        {
            "viewBox": view,
            "role": "img",
            "aria-label": alt,
            "font-family": _FONT,
            "stroke-linejoin": "round",
            "stroke-linecap": "butt",
        }
    )


def _is_empty(element: ElementTree.Element) -> bool:
    return all(child.tag == f"{{{_SVG}}}style" for child in element)


def _short(match: re.Match[str]) -> str:
    text = f"{float(match[0]):.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _serialise(root: ElementTree.Element, colours: Mapping[str, str]) -> str:
    """XML text with the default namespace; `colours` replaces paint attributes."""
    copy = ElementTree.fromstring(ElementTree.tostring(root))
    for element in copy.iter():
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
        for key in ("fill", "stroke"):
            value = element.attrib.get(key)
            if value is not None and value in colours:
                element.attrib[key] = colours[value]
    copy.attrib = {"xmlns": _SVG, **copy.attrib}
    return ElementTree.tostring(copy, encoding="unicode")
