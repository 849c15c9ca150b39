"""S3 and S4: payloads in every string slot; here by parsing, in `test_report_browser.py` in a real browser."""

from __future__ import annotations

import csv
import re
from xml.etree import ElementTree

from report_synthetic import Synthetic
from test_report_page import Reader

from ablate.report.build import build

ALLOWED = {
    "html", "head", "meta", "title", "link", "style", "body", "a", "div", "nav", "p", "ol", "ul", "li", "main", "header", "h1", "h2", "h3",
    "dl", "dt", "dd", "section", "strong", "span", "small", "figure", "figcaption", "table", "caption", "thead", "tbody", "tr", "th", "td",
    "details", "summary", "code", "pre", "blockquote", "cite", "br", "em", "svg", "g", "defs", "path", "use", "text", "tspan", "clippath", "rect",
}  # fmt: skip


def test_payloads_stay_text(hostile_report):
    text = (hostile_report / "index.html").read_text(encoding="utf-8")
    page = Reader(text)
    assert {name for name, _ in page.tags} <= ALLOWED | {"script"}
    assert [name for name, _ in page.tags].count("script") == text.count("<script") == 1
    for tag, attributes in page.tags:
        assert not [key for key in attributes if key.startswith("on") or key in ("style", "src", "srcdoc")], (
            tag,
            attributes,
        )
        if tag in ("a", "link", "use"):
            assert not re.match(r"(?i)\s*(javascript|https?|file|//)", attributes.get("href") or ""), (
                attributes
            )
    assert text.count("<style") == 1
    assert text.count("http-equiv") == 1 + text.count("&lt;meta http-equiv")


def test_no_formula_and_no_secret_in_any_file(hostile_report):
    for path in sorted(hostile_report.rglob("*")):
        if path.is_dir():
            continue
        text = path.read_text(encoding="utf-8")
        assert "hunter2" not in text, path
        assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\u202a-\u202e\u2066-\u2069]", text), path
        if path.suffix == ".csv":
            for row in csv.reader(text.splitlines(keepends=True)):
                for cell in row:
                    number = re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?|-?inf|nan", cell)
                    assert number or not cell.startswith(("=", "+", "-", "@", "\t", "\r", "＝")), (path, cell)


def test_no_string_becomes_mathematics_or_another_element(hostile_report):
    for path in (hostile_report / "plots").iterdir():
        root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
        names = {element.tag.removeprefix("{http://www.w3.org/2000/svg}").lower() for element in root.iter()}
        assert names <= ALLOWED
        for element in root.iter():
            assert not [key for key in element.attrib if key.startswith("on") or key == "style"]


def test_dollar_signs_are_drawn_as_they_are(tmp_path):
    page = build(
        Synthetic(trials=12, epochs=3, rename=lambda text: f"$_$ {text}").write(tmp_path / "x.db"),
        tmp_path / "out",
    )
    forest = ElementTree.parse(page.parent / "plots" / "forest-average.svg")
    texts = ["".join(element.itertext()) for element in forest.iter("{http://www.w3.org/2000/svg}text")]
    assert "$_$ batch_norm" in texts
