"""The site in a real browser: filters, plots with the mouse and the keyboard, small screens, no network."""

from __future__ import annotations

import json

import pytest
from browser import asked_for, show
from made_runs import draw, save_grid, save_run
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from script_exp.commands.site import main

HARMFUL = "<img src=x onerror='document.title=1'><script>document.title=2</script>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A site of two benchmarks, with a method that has more tokens than the budget."""
    folder = tmp_path_factory.mktemp("runs")
    save_grid(folder, ("gqa", "pope"))
    save_run(
        folder, "fastv", 64, draw(7, 0.5), benchmark="pope", variant=HARMFUL, tokens={"layer_average": 120.0}
    )
    save_run(folder, HARMFUL.replace("/", "|"), 64, draw(8, 0.5), benchmark="pope")
    assert main([str(folder), "--to", str(folder / "site")]) == 0
    return folder / "site"


@pytest.fixture
def opened(chromium, folder):
    show(chromium, f"file://{folder}/index.html")
    return chromium


def choose(browser, name, value):
    """Choose as a user does; the driver's own way sends no ``input`` event, which browsers do."""
    browser.execute_script(
        "const list = document.querySelector(`select[name=${arguments[0]}]`);"
        "list.value = arguments[1]; list.dispatchEvent(new Event('input', {bubbles: true}));",
        name, value,
    )  # fmt: skip


def plotted(browser, board):
    """The marks of a plot that is shown, and what it says of the front."""
    return browser.execute_script(
        """
        const place = document.querySelectorAll(".plots")[arguments[0]];
        if (!place.checkVisibility()) return null;
        const marks = place.querySelectorAll(".keys svg g[aria-label=dot]")[0].children.length;
        return [marks, place.querySelector(".front").innerText];
        """,
        board,
    )


def slow_front(points, cost):
    """Every point that no other beats, straight from the definition."""
    return [
        one
        for one in sorted(points, key=lambda point: point[cost])
        if not any(
            other[cost] <= one[cost] and other["accuracy"] >= one["accuracy"]
            and (other[cost], other["accuracy"]) != (one[cost], one["accuracy"])
            for other in points
        )
    ]  # fmt: skip


def test_plots_show_the_rows_that_the_filters_leave(opened, folder):
    """For every cost, with its Pareto front; a point is drawn for every row."""
    boards = json.loads((folder / "assets" / "boards.js").read_text().partition("= ")[2].strip().rstrip(";"))
    points = boards[1]["points"]
    assert {point["more"] for point in points} == {True, False}
    lengths = set()
    for cost in ("tokens", "flops", "prefill"):
        choose(opened, "cost", cost)
        marks, front = plotted(opened, 1)
        assert marks == len(points) == 13
        expected = [
            f"{one['label']} {one['budget']}".removesuffix(" unpruned") for one in slow_front(points, cost)
        ]
        assert front == f"Pareto front, cheapest first: {', '.join(expected)}."
        lengths.add(len(expected))
    assert max(lengths) > 2
    choose(opened, "budget", "64")
    choose(opened, "tokens", "more than the budget")
    assert plotted(opened, 0) is None
    assert plotted(opened, 1)[0] == 1
    assert opened.find_element(By.CSS_SELECTOR, "#leaderboard tbody:not([hidden]) a").text.startswith(
        "fastv (<img"
    )
    choose(opened, "tokens", "")
    choose(opened, "budget", "32")
    opened.find_element(By.ID, "words").send_keys("trim")
    assert [plotted(opened, board)[0] for board in (0, 1)] == [1, 1]
    choose(opened, "benchmark", "gqa")
    assert plotted(opened, 1) is None


def test_a_point_says_its_interval_to_the_mouse_and_the_keyboard(opened):
    keys = opened.find_elements(By.CSS_SELECTOR, ".keys")[1]
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", keys)
    said = keys.find_element(By.XPATH, "following-sibling::*[contains(@class, 'said')]")
    interval = "g[aria-label=rule] line"
    assert keys.find_elements(By.CSS_SELECTOR, interval) == []
    dot = keys.find_elements(By.CSS_SELECTOR, "g[aria-label=dot] path")[0]
    ActionChains(opened).move_to_element(dot).perform()
    assert len(keys.find_elements(By.CSS_SELECTOR, interval)) == 1
    assert said.text.startswith("none: ")
    assert "]; 576 tokens, 3.30 GFLOPs, 100 % of the unpruned prefill (20.0 ms)" in said.text
    keys.send_keys(Keys.ARROW_RIGHT)  # from the last point to the first
    first = said.text
    keys.send_keys(Keys.ARROW_RIGHT)
    assert said.text != first
    keys.send_keys(Keys.ARROW_LEFT)
    assert said.text == first
    assert " at 32: " in first
    assert len(keys.find_elements(By.CSS_SELECTOR, interval)) == 1
    assert opened.switch_to.active_element == keys
    name = said.find_element(By.TAG_NAME, "a").text
    keys.send_keys(Keys.ENTER)
    assert opened.find_element(By.TAG_NAME, "h1").text == name
    assert (
        len(opened.find_elements(By.CSS_SELECTOR, ".keys")) == 6
    )  # tokens, FLOPs and time of two benchmarks


@pytest.mark.parametrize("width", [1280, 390])
def test_pages_fit_ask_for_nothing_else_and_complain_of_nothing(chromium, folder, width):
    chromium.get_log("browser")
    for page in ("index.html", "published.html", "methods/script.html"):
        asked_for(chromium)
        address = f"file://{folder}/{page}"
        show(chromium, address, width)
        whole, screen = chromium.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert whole <= screen == width
        asked = [url for url in asked_for(chromium) if not url.startswith("data:")]
        assert asked[0] == address
        assert all(url.startswith(f"file://{folder}/assets/") for url in asked[1:])
        plots = [one.size["width"] for one in chromium.find_elements(By.CSS_SELECTOR, ".keys svg")]
        assert len(plots) == {"index.html": 2, "published.html": 0, "methods/script.html": 6}[page]
        assert all(200 < one < width for one in plots)
    assert chromium.get_log("browser") == []
    assert "document.title" not in chromium.title


def test_without_javascript_there_are_tables_and_still_figures(chromium, folder):
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(chromium, f"file://{folder}/index.html")
        assert "trim" in chromium.find_element(By.CSS_SELECTOR, "[aria-labelledby=board-1]").text
        images = chromium.find_elements(By.CSS_SELECTOR, "#leaderboard img")
        assert len(images) == 3
        assert all(image.is_displayed() and image.get_attribute("alt") for image in images)
        assert not chromium.find_element(By.ID, "filter").is_displayed()
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
