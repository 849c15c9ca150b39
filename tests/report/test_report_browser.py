"""The page in a real browser: no error, no request, light and dark, wide and narrow, on paper."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--hide-scrollbars",
)  # fmt: skip
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromium-driver"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.set_capability("unhandledPromptBehavior", "ignore")
    driver = webdriver.Chrome(options=options, service=Service(executable_path=DRIVER))
    yield driver
    driver.quit()


def look(browser, page: Path, *, theme: str = "light", width: int = 1280) -> list[str]:
    """Open the page and return the addresses of everything that it requested."""
    browser.get("about:blank")  # the browser's own first tab is still loading its parts
    browser.get_log("performance")
    browser.get_log("browser")
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"media": "", "features": [{"name": "prefers-color-scheme", "value": theme}]},
    )
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    browser.get(page.resolve().as_uri())
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [url for url in urls if url != "data:,"]


def screenshot(browser, path: Path) -> bytes:
    image = base64.b64decode(browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"])
    path.write_bytes(image)
    return image


def background(browser) -> str:
    return browser.execute_script("return getComputedStyle(document.body).backgroundColor")


@pytest.mark.parametrize(("theme", "paper"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 24, 28)")])
@pytest.mark.parametrize("width", [1280, 390])
def test_no_error_no_request_and_nothing_wider_than_the_window(
    browser, report, tmp_path, theme, paper, width
):
    requests = look(browser, report / "index.html", theme=theme, width=width)
    assert requests == [(report / "index.html").resolve().as_uri()]
    assert browser.get_log("browser") == []
    assert background(browser) == paper
    assert browser.execute_script("return document.documentElement.scrollWidth") == width
    assert len(screenshot(browser, tmp_path / f"{theme}.png")) > 20_000


def test_the_stylesheet_and_the_colours_of_the_plots_apply(browser, report):
    """A wrong hash in the policy would leave a page without style, and no test of text would see it."""
    seen = {}
    for theme in ("light", "dark"):
        look(browser, report / "index.html", theme=theme)
        seen[theme] = browser.execute_script(
            "const used = [...document.querySelectorAll('svg [fill^=\"var(\"]')].map(e => getComputedStyle(e).fill);"
            "return [...new Set(used)].sort()"
        )
        assert "rgb(0, 0, 0)" not in seen[theme]
        assert len(seen[theme]) >= 4
    assert not set(seen["light"]) & set(seen["dark"])


def test_the_table_of_contents_stays_in_sight(browser, report):
    look(browser, report / "index.html")
    top = browser.execute_script(
        "document.documentElement.style.scrollBehavior = 'auto'; window.scrollTo(0, 4000); return document.querySelector('nav').getBoundingClientRect().top"
    )
    assert top == 0


def test_it_prints_light_and_without_the_contents(browser, report, tmp_path):
    look(browser, report / "index.html", theme="dark")
    printed = base64.b64decode(
        browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True, "preferCSSPageSize": True})[
            "data"
        ]
    )
    assert printed.startswith(b"%PDF")
    pages = printed.count(b"/Type /Page\n") or printed.count(b"/Type /Page ")
    assert 4 <= pages <= 20
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]},
    )
    assert browser.execute_script("return getComputedStyle(document.querySelector('nav')).display") == "none"
    assert background(browser) in ("rgb(255, 255, 255)", "rgba(0, 0, 0, 0)")


def test_hostile_strings_run_nothing_and_fetch_nothing(browser, hostile_report):
    page = hostile_report / "index.html"
    requests = look(browser, page)
    assert requests == [page.resolve().as_uri()]
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.scripts.length") == 1
    assert browser.execute_script("return document.title").endswith("ablate")
    assert browser.execute_script("return document.querySelectorAll('main > section').length") == 11


def column(browser, table: str, place: int) -> list[str]:
    return browser.execute_script(
        "return [...document.querySelector(arguments[0]).tBodies[0].rows].filter(row => !row.hidden)"
        ".map(row => row.querySelector(`[data-column='${arguments[1]}']`)?.textContent.trim() ?? '')",
        table,
        place,
    )


def test_a_click_on_a_head_sorts_by_number_and_a_filter_keeps_what_matches(browser, report):
    look(browser, report / "index.html")
    table = "table.ranking"
    before = column(browser, table, 2)
    assert len(before) >= 10
    numbers = [float(text.replace("−", "-")) for text in before if text not in ("", "–")]
    click = "document.querySelector('table.ranking').querySelectorAll('thead button')[2].click()"
    browser.execute_script(click)
    assert [float(t.replace("−", "-")) for t in column(browser, table, 2)[: len(numbers)]] == sorted(numbers, reverse=True)  # fmt: skip
    browser.execute_script(click)
    assert [float(t.replace("−", "-")) for t in column(browser, table, 2)[: len(numbers)]] == sorted(numbers)
    name = column(browser, table, 1)[3].split()[0]
    browser.execute_script(
        "const field = document.querySelector('#ranking input[type=search]'); field.value = arguments[0];"
        "field.dispatchEvent(new Event('input'))",
        name.upper(),
    )
    left = column(browser, table, 1)
    assert left
    assert len(left) < len(before)
    assert all(name.lower() in text.lower() for text in left) or len(left) < 4
    assert browser.get_log("browser") == []
