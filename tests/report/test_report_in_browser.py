"""The report in a real browser: sorting, filtering, small screens, and no network requests."""

from __future__ import annotations

import pytest
from browser import asked_for, show
from made_runs import draw, save_grid, save_run
from processes import run
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

HARMFUL = "<img src=x onerror='document.title=1'><script>document.title=2</script>"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report with a hole, of runs on pope and, fewer, on gqa."""
    folder = tmp_path_factory.mktemp("runs")
    save_grid(folder, ("gqa", "pope"))
    save_run(folder, "fastv", 64, draw(7, 0.5), benchmark="pope", variant=HARMFUL)
    process = run(folder, script="analysis/report.py")
    assert process.returncode == 0, process.stderr
    return f"file://{folder}/analysis/report.html"


@pytest.fixture
def opened(chromium, page):
    """The page, freshly loaded on a desktop's screen."""
    show(chromium, page)
    return chromium


def head(browser, table, column):
    """The head of a column, of the table with this id."""
    (found,) = [
        one
        for one in browser.find_elements(By.CSS_SELECTOR, f"[aria-labelledby={table}] thead th")
        if one.text.startswith(column)
    ]
    return found


def groups(browser, table):
    """Of every group of rows that is shown its heading, and the entries of each row."""
    return browser.execute_script(
        """
        const shown = (row) => row.checkVisibility();
        const bodies = [...document.querySelector(`[aria-labelledby=${arguments[0]}] table`).tBodies];
        return bodies.filter(shown).map((body) => [
            body.rows[0].innerText.trim(),
            [...body.rows].slice(1).filter(shown).map((row) => [...row.cells].map((cell) => cell.innerText)),
        ]);
        """,
        table,
    )


def column(rows, place):
    """What the entries of a column begin with, as numbers; None for a hole."""
    texts = [row[place].split(" ")[0] for row in rows]
    return [None if text == "–" else float(text) for text in texts]


def falling(values):
    """From the largest to the smallest, holes last."""
    return sorted(values, key=lambda value: float("inf") if value is None else -value)


def rising(values):
    return sorted(values, key=lambda value: float("inf") if value is None else value)


def test_a_click_on_a_head_sorts_within_each_group(opened):
    before = groups(opened, "accuracy-1")
    gqa, pope = head(opened, "accuracy-1", "gqa"), head(opened, "accuracy-1", "pope")
    place = 2
    for state, order in (("descending", falling), ("ascending", rising), ("none", list)):
        gqa.find_element(By.TAG_NAME, "button").click()
        assert gqa.get_attribute("aria-sort") == state
        after = groups(opened, "accuracy-1")
        assert [heading for heading, _ in after] == [heading for heading, _ in before]
        for (_, old), (_, new) in zip(before, after, strict=True):
            assert column(new, place) == order(column(old, place))
            assert sorted(new) == sorted(old)
    assert after == before
    assert None in column(before[1][1], place)  # fastv was not run on gqa
    gqa.find_element(By.TAG_NAME, "button").click()
    pope.find_element(By.TAG_NAME, "button").click()
    assert (gqa.get_attribute("aria-sort"), pope.get_attribute("aria-sort")) == ("none", "descending")


def test_texts_sort_as_texts_and_intervals_by_their_lower_end(opened):
    head(opened, "accuracy-1", "Method").find_element(By.TAG_NAME, "button").click()
    for _, rows in groups(opened, "accuracy-1"):
        methods = [row[0] for row in rows]
        assert methods == sorted(methods)
    head(opened, "significance-1", "95 % interval").find_element(By.TAG_NAME, "button").click()
    for _, rows in groups(opened, "significance-1"):
        low = column(rows, 2)
        assert low == falling(low)
        assert min(low) < 0


def test_a_head_can_be_used_from_the_keyboard(opened):
    tokens = head(opened, "accuracy-1", "Tokens")
    tokens.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert tokens.get_attribute("aria-sort") == "descending"
    assert opened.switch_to.active_element == tokens.find_element(By.TAG_NAME, "button")


def test_words_filter_the_rows_of_all_tables(opened):
    box, count = opened.find_element(By.ID, "words"), opened.find_element(By.ID, "count")
    total = int(count.text.split(" ")[2])
    assert count.text == f"{total} of {total} rows"
    everything = groups(opened, "accuracy-1")
    box.send_keys("Trim 64")
    assert groups(opened, "accuracy-1") == [
        [heading, [row for row in rows if row[0] == "trim"]]
        for heading, rows in everything
        if heading.startswith("64 tokens")
    ]
    assert 0 < int(count.text.split(" ")[0]) < total
    box.clear()
    box.send_keys("6")  # neither in 64 nor in 576
    assert not opened.find_element(By.ID, "accuracy-1").is_displayed()
    box.clear()
    box.send_keys("gqa random")
    (cost,) = [
        one.get_attribute("id")
        for one in opened.find_elements(By.CSS_SELECTOR, "h3")
        if one.is_displayed() and one.text.startswith("Cost per question")
    ]
    assert {row[0] for _, rows in groups(opened, cost) for row in rows} == {"random"}
    assert {row[0] for _, rows in groups(opened, "accuracy-1") for row in rows} == {"random"}
    box.clear()
    box.send_keys("nothing of the kind")
    assert count.text == f"0 of {total} rows"
    assert opened.find_element(By.ID, "overview").is_displayed()
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys(Keys.BACKSPACE)
    assert groups(opened, "accuracy-1") == everything


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_does_not_scroll_sideways(chromium, page, width):
    show(chromium, page, width)
    chromium.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    whole, screen = chromium.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert screen == width
    assert whole <= screen
    wider = chromium.execute_script(
        "const boxes = [...document.querySelectorAll('.scroll')];"
        "return boxes.filter((box) => box.scrollWidth > box.clientWidth).length"
    )
    assert wider > 0  # tables do, in their own boxes


def test_nothing_is_asked_of_the_network_and_nothing_is_complained_of(chromium, page):
    chromium.get_log("browser")
    chromium.get_log("performance")
    show(chromium, page)
    head(chromium, "accuracy-1", "Tokens").find_element(By.TAG_NAME, "button").click()
    assert chromium.get_log("browser") == []
    assert [url for url in asked_for(chromium) if not url.startswith("data:")] == [page]
    sizes = chromium.execute_script("return [...document.images].map((image) => image.naturalWidth)")
    assert len(sizes) >= 4
    assert min(sizes) > 0


def test_names_of_runs_are_not_run(opened):
    assert opened.title == "Visual-token pruning: tiny on gqa, pope"
    assert HARMFUL in opened.find_element(By.CSS_SELECTOR, "[aria-labelledby=accuracy-1]").text


def test_without_javascript_the_tables_are_there(chromium, page):
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(chromium, page)
        table = chromium.find_element(By.CSS_SELECTOR, "[aria-labelledby=accuracy-1]")
        assert table.is_displayed()
        assert "script" in table.text
        assert table.find_elements(By.TAG_NAME, "button") == []
        assert not chromium.find_element(By.ID, "filter").is_displayed()
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
