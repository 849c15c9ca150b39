"""Every block of the tutorial and of the how-tos is run, links lead somewhere, and every page is in the site's navigation."""

import re
import runpy
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from cli_samples import INLINE, ablate
from pages import DOCS, STUBBED, blocks
from PIL import Image

HOWTOS = sorted(f"howto/{path.name}" for path in (DOCS / "howto").glob("*.md"))
PREPARED = ["--stages", "report", *INLINE]
"""With these, `ablate study` checks task and study, prepares everything and writes a page, and trains nothing."""
PAGES = sorted(DOCS.rglob("*.md"))
LINK = re.compile(r"\]\(([^)#\s]+)(?:#([\w-]+))?\)")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """What the pages take to be there: a table and a folder of images."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    table = pd.DataFrame({"area": draw.normal(size=90), "district": draw.choice(["north", "south"], 90)})
    table.assign(price=2 * table["area"] + draw.normal(size=90)).to_csv("houses.csv", index=False)
    for number in range(20):
        path = tmp_path / "images" / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
    return tmp_path


def run(page, capsys, more):
    """Write the page's files, run its Python and its commands; `more`: words to add to the commands of a name."""
    commands = []
    for block in blocks(page):
        if block.title:
            Path(block.title).write_text(block.text)
        elif block.language == "python":
            Path("block.py").write_text(block.text)
            runpy.run_path("block.py", run_name="__main__")
        elif block.language == "sh":
            commands += block.text.splitlines()
        else:
            raise AssertionError(f"{page} has a block of {block.language} that is not run")
        for line in commands:
            program, name, *words = shlex.split(line)
            assert program == "ablate"
            said = ablate(capsys, name, *words, *more.get(name, ()))
            assert said.code == 0, (line, said.err)
        commands.clear()


@pytest.mark.parametrize("page", HOWTOS)
def test_the_blocks_of_a_how_to_run(page, capsys, here):
    run(page, capsys, {"study": PREPARED, "plan": INLINE})


@pytest.mark.parametrize("page", [*HOWTOS, "tutorial.md"])
def test_what_a_page_writes_to_a_file_is_run(page):
    """By a later command or block of the page, or with stubs."""
    whole = blocks(page)
    idle = [
        block.title
        for number, block in enumerate(whole)
        if block.title.endswith((".py", ".sh"))
        and not any(Path(block.title).stem in later.text for later in whole[number + 1 :])
    ]
    assert bool(idle) == (page in STUBBED), idle


@pytest.mark.slow
def test_the_tutorial_runs(capsys, here):
    smaller = ["--epochs", "1", "--trials", "2", "--budget", "250runs", *INLINE]
    run("tutorial.md", capsys, {"study": [*smaller, "--force"], "plan": INLINE})
    assert list(Path("trained").rglob("*.safetensors"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_links_lead_somewhere(path):
    for target, anchor in LINK.findall(path.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file = (path.parent / target).resolve()
        assert file.is_relative_to(DOCS), f"{target} is not part of the site"
        assert file.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {
                re.sub(r"[^\w -]", "", head).lower().strip().replace(" ", "-") for head in heads
            }


def test_every_page_is_in_the_navigation():
    nav = yaml.safe_load((DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]

    def files(entry):
        if isinstance(entry, str):
            return [entry]
        return [
            file for part in (entry if isinstance(entry, list) else entry.values()) for file in files(part)
        ]

    pages = {str(path.relative_to(DOCS)) for path in PAGES if path.parent.name != "tricks"}
    assert set(files(nav)) == pages | {"tricks/README.md"}


def test_the_reference_names_what_there_is():
    import importlib

    import ablate as package

    named = re.findall(r"^::: (\S+)$", (DOCS / "reference.md").read_text(encoding="utf-8"), re.MULTILINE)
    for name in named:
        module, _, attribute = name.rpartition(".")
        assert getattr(importlib.import_module(module), attribute).__doc__
    missing = set(package.__all__) - {name.rpartition(".")[2] for name in named}
    assert missing <= {"LRFindResult", "LearningRate", "Trained"}
