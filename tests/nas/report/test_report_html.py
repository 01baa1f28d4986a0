from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nas.report import Check, Chosen, ReportData, html

ATTACK = "<script>alert('owned')</script>"

# Collects errors before anything else runs, then notes what was drawn and which texts of a plot overlap.
WATCH = """<script>
window.problems = [];
window.addEventListener('error', event => problems.push(event.message));
document.addEventListener('securitypolicyviolation', event => problems.push('blocked: ' + event.blockedURI));
console.error = (...parts) => problems.push(parts.join(' '));
</script>"""
INSPECT = """<script>
const overlaps = [];
const plots = [...document.querySelectorAll('.plot')];
for (const plot of plots) {
  const texts = [...plot.querySelectorAll('text')].filter(text => text.textContent.trim());
  const boxes = texts.map(text => text.getBoundingClientRect());
  for (let i = 0; i < boxes.length; i++) for (let j = 0; j < i; j++) {
    const [a, b] = [boxes[i], boxes[j]];
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (wide > 1 && high > 3) overlaps.push(plot.id + ': ' + texts[i].textContent + ' / ' + texts[j].textContent);
  }
}
const outside = plots.filter(p => p.querySelector('.main-svg').getBoundingClientRect().right > p.closest('section').getBoundingClientRect().right);
const found = {
  plots: plots.length,
  drawn: plots.filter(plot => plot.querySelector('.main-svg .trace, .main-svg .point')).length,
  texts: document.querySelectorAll('.plot text').length,
  outside: outside.map(plot => plot.id),
  problems, overlaps,
};
const note = document.createElement('pre');
note.id = 'found';
note.textContent = JSON.stringify(found);
document.body.append(note);
</script>"""


class Page(HTMLParser):
    """Tags with their attributes, and the text outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._hidden = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        self._hidden = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._hidden = False

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text += data


@pytest.fixture(scope="module")
def page(run: ReportData) -> str:
    return html.render(run)


def test_page_needs_no_other_file(page: str) -> None:
    parsed = Page(page)
    links = [value for _, attributes in parsed.tags for name, value in attributes.items() if name in ("src", "href")]
    assert links
    assert all(link is not None and link.startswith("#") for link in links)
    assert not [tag for tag, _ in parsed.tags if tag in ("link", "iframe", "img")]
    assert "url(" not in html._STYLE
    assert "default-src 'none'" in page


def test_page_shows_every_member_of_the_front(run: ReportData, page: str) -> None:
    shown = Page(page).text
    assert len(run.front) > 5
    for evaluation in run.front:
        assert evaluation.architecture.key in shown
        assert f"{100 * evaluation.metrics['accuracy']:.2f}" in shown
    for name, value in run.facts:
        assert name in shown
        assert value in shown


def test_verification_is_told_in_words(page: str) -> None:
    shown = Page(page).text
    assert "Failed: latency on local." in shown
    assert "FAILED" in shown


def test_anchors_lead_to_sections(page: str) -> None:
    tags = Page(page).tags
    targets = {attributes["id"] for tag, attributes in tags if tag == "section"}
    assert {str(attributes["href"])[1:] for tag, attributes in tags if tag == "a"} == targets
    assert targets == {"summary", "chosen", "front", "progress", "latency", "importance", "training"}


def test_everything_from_data_is_escaped(run: ReportData) -> None:
    assert run.chosen is not None
    attacked = replace(
        run,
        title=ATTACK,
        facts=((ATTACK, ATTACK),),
        calibrations=(replace(run.calibrations[0], device=ATTACK, predictor=ATTACK, errors={ATTACK: 1.0}),),
        training=(replace(run.training[0], losses={ATTACK: 1.0}),),
        subnets={ATTACK: {"accuracy": 0.5}},
        chosen=Chosen(run.chosen.architecture, run.chosen.metrics, (Check(ATTACK, False, ATTACK, ATTACK),)),
    )
    page = html.render(attacked)
    assert ATTACK not in page
    assert page.count("&lt;script&gt;") >= 10
    plain = Page(html.render(run))
    hostile = Page(page)
    assert hostile.text.count(ATTACK) >= 10
    scripts = [sum(tag == "script" for tag, _ in parsed.tags) for parsed in (plain, hostile)]
    assert scripts[1] == scripts[0] - 1  # one device fewer, nothing more


def test_page_is_the_same_every_time(run: ReportData, page: str) -> None:
    assert html.render(run) == page


def test_page_of_a_search_that_found_nothing(run: ReportData) -> None:
    empty = Page(html.render(replace(run, evaluations=(), chosen=None, calibrations=(), training=(), subnets={})))
    assert "No network has been evaluated." in empty.text
    assert "0 evaluations are too few" in empty.text
    lost = tuple(replace(evaluation, feasible=False) for evaluation in run.evaluations[:5])
    shown = Page(html.render(replace(run, evaluations=lost, chosen=None))).text
    assert "No evaluated network keeps all limits" in shown
    assert "5 evaluations are too few" in shown


def test_write_replaces_the_file_or_leaves_it(run: ReportData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(html, "render", lambda data: "\ud800")  # cannot be encoded: fails while writing
        with pytest.raises(UnicodeEncodeError):
            html.write(run, target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
    html.write(run, target)
    assert target.read_text(encoding="utf-8").endswith("</html>\n")
    assert list(tmp_path.iterdir()) == [target]


def browser() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium or Chrome is installed")
    return found


@pytest.mark.parametrize("width", [1280, 480])
def test_browser_draws_all_figures(run: ReportData, page: str, width: int, tmp_path: Path) -> None:
    narrow = f"<style>html {{ max-width: {width}px }}</style>"  # a headless window is at least 500 pixels wide
    watched = page.replace("<head>", "<head>" + WATCH + narrow, 1).replace("</body>", INSPECT + "</body>", 1)
    file = tmp_path / "page.html"
    file.write_text(watched, encoding="utf-8")
    options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    options += f" --disable-component-update --disable-sync --virtual-time-budget=10000 --window-size={width},2000"
    command = [browser(), *options.split(), f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    match = re.search(r'<pre id="found">(.*?)</pre>', done.stdout)
    assert match is not None, done.stderr[-2000:]
    found = json.loads(match.group(1).replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&"))
    expected = 1 + 1 + 1 + len(run.calibrations) + len(run.objectives) + 1
    assert found["problems"] == []
    assert (found["plots"], found["drawn"]) == (expected, expected)
    assert found["texts"] > 50
    assert found["overlaps"] == []
    assert found["outside"] == []
