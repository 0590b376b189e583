"""The HTML page, in a real browser: it renders, sorts, filters, and asks nothing of any network."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from written_runs import verdict_frame, write_run, write_study

from steepest.errors import ConfigError
from steepest.report.html_tables import Links
from steepest.report.page import in_script, write_page
from steepest.report.runs import Runs, load

RUNS = Path("runs")
EVIL = "<script>alert('run')</script><b>&amp;"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip(f"needs a browser: {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A page of two rows of a study and of other runs, 46 in all."""
    folder = tmp_path_factory.mktemp("page")
    first = write_study(folder / "runs", row="vision", seeds=4, trials=3)
    first = write_study(folder / "runs", row="text", seeds=4, trials=3, first=first)
    write_run(folder / "runs", first, name=EVIL, optimizer=EVIL)
    write_run(folder / "runs", first + 1, optimizer="sgd", status="diverged")
    write_run(folder / "runs", first + 2, optimizer="sgd", seed=1)
    write_run(folder / "runs", first + 3, optimizer="sgd", seed=2, status="running")
    file = folder / "report.html"
    notes = {"vision": f"An edge: {EVIL}", "Scale": "small"}
    write_page(file, f"Domains {EVIL}", load([folder / "runs"]), verdict_frame(("vision", "text")), notes)
    return file


@pytest.fixture
def page(browser, written):
    """The page, open; at the end nothing was logged, and nothing was asked for."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    context.set_default_timeout(10_000)
    opened, wrong = context.new_page(), []
    opened.on("console", lambda message: wrong.append(message.text))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("dialog", lambda dialog: wrong.append(dialog.message) or dialog.dismiss())
    asked = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(written.as_uri())
    yield opened
    context.close()
    assert wrong == []
    assert [url for url in asked if not url.startswith(("data:", "blob:", written.as_uri()))] == []


def column(page, table, index):
    """The texts of a column's open rows."""
    cells = page.locator(f"#{table} tbody tr:not([hidden]) > :nth-child({index})")
    return [" ".join(text.split()) for text in cells.all_inner_texts()]


def drawn(page):
    """Draw every figure, those far below too."""
    page.evaluate("document.querySelectorAll('figure[data-figure]').forEach(draw)")
    return page.locator(".plot .main-svg").first.wait_for(state="attached")


def test_it_renders_all_its_parts(page):
    assert page.title() == f"Domains {EVIL}"
    drawn(page)
    figures = page.locator("figure[data-figure]")
    assert page.locator(".plot.js-plotly-plot").count() == figures.count() > 8
    titles = set(page.locator("figure h3").all_inner_texts())
    expected = {"Training curves", "Behind adam", "Cost", "Learning rate", "Best of k trials", "Performance profile"}
    assert expected | {"Time to val/accuracy = 0.8"} <= titles
    assert page.locator(".scatterlayer .trace").count() > 20
    assert column(page, "verdict-table", 2) == ["✓ confirmed", "= on par"]


def test_nothing_moves_when_figures_are_drawn(page):
    """Readers click while figures below and above come into view and are drawn."""
    height = page.evaluate("document.documentElement.scrollHeight")
    page.evaluate("all('figure[data-figure]').forEach(draw)")
    assert page.locator(".plot.js-plotly-plot").count() > 8
    assert page.evaluate("document.documentElement.scrollHeight") == pytest.approx(height, abs=2)


def test_there_is_no_way_to_upload(page, written):
    drawn(page)
    page.locator(".plot").first.hover()
    titles = page.evaluate("[...document.querySelectorAll('.modebar-btn')].map((a) => a.dataset.title || '')")
    assert titles
    assert not [title for title in titles if re.search("cloud|chart studio|edit|share|upload", title, re.I)]
    assert page.locator(".modebar-btn--logo").count() == 0
    assert page.get_by_text(re.compile("send to|upload", re.I)).count() == 0


def says(page, text):
    """Wait until the line above the runs says this."""
    from playwright.sync_api import expect  # an extra, which the fixture looked for

    expect(page.locator("#shown")).to_have_text(text)


def test_tables_sort_by_click_and_by_key(page):
    heads = page.locator("#all-runs thead th")
    result = heads.nth(6)
    assert result.get_attribute("aria-sort") == "none"
    result.locator("button").focus()
    page.keyboard.press("Enter")
    assert result.get_attribute("aria-sort") == "ascending"
    page.get_by_role("button", name="Show all 46 rows").click()
    values = column(page, "all-runs", 7)
    numbers = [float(value) for value in values if value != "-"]
    assert numbers == sorted(numbers)
    assert values[len(numbers) :] == ["-"] * (len(values) - len(numbers))
    result.locator("button").focus()
    page.keyboard.press("Space")
    assert result.get_attribute("aria-sort") == "descending"
    values = column(page, "all-runs", 7)
    assert [float(value) for value in values[: len(numbers)]] == sorted(numbers, reverse=True)
    assert values[-1] == "-"
    heads.nth(2).locator("button").click()
    assert result.get_attribute("aria-sort") == "none"
    groups = column(page, "all-runs", 3)
    assert [name for name in groups if name != EVIL] == sorted(name for name in groups if name != EVIL)


def test_runs_are_filtered(page):
    says(page, "40 of 46 runs shown.")
    page.get_by_role("searchbox").fill("lr=0.1 sgd")
    assert set(column(page, "all-runs", 3)) == {"sgd"}
    page.get_by_role("searchbox").fill("")
    page.locator("#of-group").select_option("adam")
    page.locator("#of-section").select_option("domains / text / small")
    says(page, "7 of 7 runs shown, 46 in all.")
    page.locator("#of-status").select_option("diverged")
    assert column(page, "all-runs", 1) == []
    page.get_by_role("button", name="Show all").first.click()
    says(page, "40 of 46 runs shown.")


def test_every_number_leads_to_its_runs(page):
    link = page.locator("#domains-vision-small-val-accuracy-0 tbody tr", has_text="adam").first.locator("a").first
    link.focus()
    page.keyboard.press("Enter")
    says(page, "4 of 4 the runs behind that number shown, 46 in all.")
    assert set(column(page, "all-runs", 3)) == {"adam"}
    assert set(column(page, "all-runs", 6)) == {"evaluate"}
    assert page.evaluate("document.activeElement.id") == "runs"
    numbers = page.evaluate("""[...document.querySelectorAll('section:not(#runs):not(#verdicts) td.number')]
        .filter((cell) => !cell.querySelector('a') && !['0', '-'].includes(cell.textContent)).length""")
    assert numbers == 0


def test_a_run_shows_its_command_and_copies_it(page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    run = page.locator("#all-runs .run").first
    command = run.locator("xpath=ancestor::tr").locator("code").inner_text()
    assert command.startswith("python train.py optimizer=")
    run.click()
    dialog = page.get_by_role("dialog")
    assert dialog.locator("pre").inner_text() == command
    assert "d1d1d1d1d1d1" in dialog.inner_text()
    assert "optimizer.lr" in dialog.inner_text()
    dialog.locator(".copy").click()
    dialog.get_by_text("Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == command
    page.keyboard.press("Escape")
    assert not dialog.is_visible()


def test_a_click_on_a_point_shows_its_run(page):
    figure = page.locator("figure", has=page.get_by_role("heading", name="Learning rate")).first
    figure.scroll_into_view_if_needed()
    point = figure.locator(".point").first
    point.wait_for()
    box = point.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 1, y - 1)
    page.mouse.move(x, y)
    figure.locator(".hoverlayer .hovertext").first.wait_for()
    page.mouse.down()
    page.mouse.up()
    page.get_by_role("dialog").wait_for()
    assert page.locator("#about-title").inner_text().startswith("r")


def test_curves_over_steps_examples_and_seconds(page):
    figure = page.locator("figure", has=page.get_by_role("heading", name="Training curves")).first
    figure.scroll_into_view_if_needed()
    figure.locator(".main-svg").first.wait_for()
    title = figure.locator(".xtitle")
    assert title.text_content() == "optimizer steps"
    figure.get_by_label("seconds").check()
    assert title.text_content() == "seconds"
    figure.get_by_label("seconds").press("ArrowLeft")
    assert title.text_content() == "examples"
    figure.get_by_label("train/loss").check()
    assert figure.locator(".ytitle").text_content() == "train/loss"


def test_light_and_dark(page):
    figure = page.locator("figure[data-figure]").first
    figure.scroll_into_view_if_needed()
    figure.locator(".xtitle").wait_for()
    colours = "[getComputedStyle(document.body).backgroundColor, document.querySelector('.xtitle').style.fill]"
    light = page.evaluate(colours)
    assert light == ["rgb(255, 255, 255)", "rgb(28, 32, 36)"]
    page.get_by_role("button", name="Dark colours").click()
    dark = page.evaluate(colours)
    assert dark == ["rgb(21, 24, 28)", "rgb(230, 232, 234)"]
    page.reload()
    assert page.evaluate(colours.split(",")[0] + "]") == dark[:1]
    page.get_by_role("button", name="Light colours").press("Enter")
    assert page.evaluate(colours.split(",")[0] + "]") == light[:1]


def test_it_follows_the_system(browser, written):
    with browser.new_context(color_scheme="dark") as context:
        page = context.new_page()
        page.goto(written.as_uri())
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        page.emulate_media(color_scheme="light")
        page.locator("html[data-theme=light]").wait_for(state="attached")


def test_a_phone_scrolls_tables_and_not_the_page(page):
    page.set_viewport_size({"width": 375, "height": 740})
    drawn(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    assert page.evaluate(
        "(() => { const t = document.querySelector('#all-runs').parentElement;"
        " return t.scrollWidth > t.clientWidth; })()"
    )
    wide = page.evaluate(
        "[...document.querySelectorAll('figure .main-svg')].map((e) => e.getBoundingClientRect().right)"
    )
    assert max(wide) <= 375


def test_figures_keep_their_height_when_the_window_changes(page):
    drawn(page)
    page.set_viewport_size({"width": 700, "height": 900})
    page.evaluate("Promise.all([...document.querySelectorAll('.js-plotly-plot')].map((e) => Plotly.Plots.resize(e)))")
    over = page.evaluate("""[...document.querySelectorAll('figure')].filter((figure) =>
        figure.querySelector('.main-svg').getBoundingClientRect().bottom
        > figure.querySelector('figcaption').getBoundingClientRect().top + 1).length""")
    assert over == 0
    assert page.evaluate("document.documentElement.scrollWidth") == 700


def test_the_keyboard_reaches_everything_in_sight(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    nameless = page.evaluate("""[...document.querySelectorAll('button, input, select, a[href], [role]')]
        .filter((e) => !e.closest('.modebar') && !e.textContent.trim() && !e.ariaLabel && !e.labels?.length)
        .map((e) => e.outerHTML.slice(0, 99))""")
    assert nameless == []


def test_it_prints(page):
    page.emulate_media(media="print")
    assert not page.locator("#theme").is_visible()
    assert not page.locator(".filters").is_visible()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".plot.js-plotly-plot").count() == page.locator("figure[data-figure]").count()


def test_it_is_read_without_script(browser, written):
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(written.as_uri())
        assert len(column(page, "all-runs", 1)) == 46
        assert page.locator("#verdict-table").is_visible()


class Elements(HTMLParser):
    """The names of elements that begin, and their attributes."""

    def __init__(self):
        super().__init__()
        self.found, self.ids = [], []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]


def test_the_html_is_escaped_whole_and_alone(written):
    parser = Elements()
    text = written.read_text()
    parser.feed(text)
    assert [tag for tag, _ in parser.found].count("script") == 3
    assert not [attrs for _, attrs in parser.found if {"src", "onclick", "onload"} & set(attrs)]
    assert not [a for tag, a in parser.found if tag in ("link", "a") and not a["href"].startswith(("#", "data:"))]
    assert len(parser.ids) == len(set(parser.ids))
    assert all(a["href"][1:] in parser.ids for tag, a in parser.found if tag == "a")


@pytest.mark.parametrize("value", ["</script><script>", "<!--", "a\u2028b", {"é": ["<"]}])
def test_json_does_not_end_its_script(value):
    text = in_script(value)
    assert "<" not in text
    assert json.loads(text) == value


def test_a_list_of_runs_stands_once():
    links = Links()
    assert links.key(["a", "b"]) == links.key(("a", "b")) != links.key(["a"])
    assert links.to("<1>", ["a"], '"') == '<a class="to-runs" href="#runs" data-runs="l1" title="&quot;">&lt;1&gt;</a>'


def test_a_run_of_two_rows_stands_once():
    write_study(RUNS, seeds=2, trials=2)
    data = load([RUNS])
    again = data.runs.assign(row="again", contender=data.runs.contender + "2")
    write_page(Path("a.html"), "Twice", Runs(pd.concat([data.runs, again]), data.metrics))
    text = Path("a.html").read_text()
    parser = Elements()
    parser.feed(text)
    ids = [attrs["data-run"] for tag, attrs in parser.found if tag == "button" and attrs.get("class") == "run"]
    assert sorted(ids) == sorted(data.runs.run_id)
    assert "<div>domains / vision / small</div><div>domains / again / small</div>" in text


def test_seeds_needed_may_say_for_what():
    write_run(RUNS, 1)
    frame = verdict_frame(("rl", "gan"))
    frame["seeds_needed"] = pd.Series([(12, "on par"), None], dtype=object)
    write_page(Path("a.html"), "Needed", load([RUNS]), frame)
    assert "12 (on par)" in Path("a.html").read_text()


def test_no_verdicts_and_no_search():
    write_run(RUNS, 1)
    write_page(Path("a.html"), "One run", load([RUNS]))
    text = Path("a.html").read_text()
    assert 'id="verdicts"' not in text
    assert 'id="profile"' not in text


def test_verdicts_without_runs_or_values():
    write_run(RUNS, 1)
    empty = dict.fromkeys(["value", "low", "high", "rival_value", "n", "seeds_needed", "best_rival", "condition"])
    write_page(Path("a.html"), "Nothing", load([RUNS]), verdict_frame(("rl",), verdict="inconclusive", **empty))
    assert "? </i>" not in Path("a.html").read_text()


def test_a_file_that_cannot_be_written():
    write_run(RUNS, 1)
    with pytest.raises(ConfigError, match=r"nowhere/a.html cannot be written"):
        write_page(Path("nowhere/a.html"), "One run", load([RUNS]))
