"""The pages: what is in them, and how a real browser shows them."""

import html.parser
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from jaxgen import report, runs
from jaxgen.charts import line_chart
from jaxgen.cli import main

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
PROBE = """<script>addEventListener('load', () => {
  document.querySelectorAll('details').forEach(d => d.open = true);
  const wide = [...document.querySelectorAll('body *')].filter(
    e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll, pre, label, svg'));
  const said = {
    width: innerWidth, scroll: document.documentElement.scrollWidth, title: document.title,
    images: [...document.images].map(i => i.complete && i.naturalWidth > 0),
    charts: [...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().width > 50),
    wide: wide.map(e => e.tagName + ' ' + e.className), heading: document.querySelector('h1').innerText,
    small: [...document.querySelectorAll('p, td, th, figcaption, pre')]
      .filter(e => parseFloat(getComputedStyle(e).fontSize) < 12).length};
  parent.postMessage(JSON.stringify(said), '*');
});</script>"""
FRAME = """<!doctype html><pre id="probe"></pre><script>addEventListener('message', event => {
  document.getElementById('probe').textContent = event.data; });</script>
<iframe src="%s" style="width:%dpx;height:1600px;border:0"></iframe>"""


def browse(page: Path, width: int, folder: Path) -> dict:
    """What a browser says about a page at this width; in a frame, as its windows are at least 500 pixels wide."""
    inner, outer = folder / f"inner-{width}.html", folder / f"outer-{width}.html"
    inner.write_text(page.read_text(encoding="utf-8").replace("</body>", PROBE + "</body>"), encoding="utf-8")
    outer.write_text(FRAME % (inner.as_uri(), width), encoding="utf-8")
    flags = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"]
    flags += ["disable-component-update", "disable-sync", "disable-dev-shm-usage", "virtual-time-budget=10000"]
    flags += ["dump-dom", f"user-data-dir={folder / f'profile-{width}'}", "window-size=1400,1800"]
    out = subprocess.run(
        [BROWSER, *(f"--{flag}" for flag in flags), outer.as_uri()], capture_output=True, text=True, timeout=240
    )
    found = re.search(r'<pre id="probe">(.+?)</pre>', out.stdout, re.DOTALL)
    assert found, out.stderr[-2000:]
    return json.loads(html.unescape(found.group(1)))


@pytest.fixture
def copied(toy_run, tmp_path):
    return Path(shutil.copytree(toy_run, tmp_path / "a run"))


@pytest.fixture
def other(copied, tmp_path):
    """A second run with another configuration and other results."""
    other = Path(shutil.copytree(copied, tmp_path / "another_run_with_quite_a_long_name_to_fit_in"))
    about = json.loads((other / "config.json").read_text())
    about["config"]["learning_rate"] = 0.05
    (other / "config.json").write_text(json.dumps(about))
    metrics = json.loads((other / "metrics.json").read_text())
    metrics["logistic"]["accuracy"] = 0.99
    (other / "metrics.json").write_text(json.dumps(metrics))
    return other


VOID = {"meta", "link", "img", "input", "br", "line", "circle", "polyline"}


class Tags(html.parser.HTMLParser):
    """Checks that every tag is closed in order, and collects addresses."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)


def parsed(text):
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    return tags


def test_a_page_holds_everything_and_reaches_for_nothing(toy_run):
    text = (toy_run / "report.html").read_text(encoding="utf-8")
    tags = parsed(text)
    assert all(address.startswith("data:") for address in tags.addresses)
    assert "script" not in tags.tags
    assert tags.tags.count("img") == 1
    assert tags.tags.count("svg") >= 4
    assert "http" not in text.replace("http-equiv", "")
    for words in ("Accuracy", "baseline", "0.1", "bright squares", "jaxgen run", "share of pixels that are right"):
        assert words in text
    assert re.search(r"<td class='best'><span>0\.\d+</span>", text)


def test_what_people_write_is_escaped(toy_run):
    text = (toy_run / "report.html").read_text(encoding="utf-8")
    assert "&lt;on test images&gt; &amp; more" in text
    assert "&lt;as they come&gt;" in text
    assert "logistic &lt;toy&gt;" in text
    assert "<th scope='col'>ms an image</th>" in text
    assert "<on test" not in text


def test_an_unfinished_run_has_a_page_that_says_how_to_go_on(copied):
    (copied / "metrics.json").unlink()
    shutil.rmtree(copied / "figures")
    with (copied / "log.jsonl").open("a") as log:
        log.write('{"stage": "logistic", "step": 1')  # cut short
    text = report.page(runs.open_run(copied))
    parsed(text)
    assert "not finished" in text
    assert "step 20 of stage logistic" in text
    assert "jaxgen run &#x27;" in text


def test_a_broken_number_or_figure_does_not_break_the_page(copied):
    (copied / "metrics.json").write_text('{"logistic": {"accuracy": null, "deep": {"er": [1, 2.5]}}, "images": 8}')
    (copied / "figures" / "examples.png").unlink()
    text = report.page(runs.open_run(copied))
    parsed(text)
    assert "examples.png is missing" in text
    assert "–" in text


def test_the_best_is_marked_in_the_direction_that_is_better():
    said = report.table(
        {"a": {"dice": 0.9, "hausdorff95": 3.0, "auroc": 0.5}, "b": {"dice": 0.8, "hausdorff95": 2.0, "auroc": 0.5}}
    )
    dice, hausdorff, auroc = said.splitlines()[1:]
    assert "0.9000*" in dice
    assert "0.8000*" not in dice
    assert "2.0000*" in hausdorff
    assert "3.0000*" not in hausdorff
    assert "*" not in auroc


def test_report_command_rebuilds_one_page_and_compares_several(copied, other, tmp_path, capsys):
    (copied / "report.html").unlink()
    assert main(["report", str(copied)]) == 0
    assert (copied / "report.html").is_file()
    out = tmp_path / "both.html"
    for _ in range(2):  # its own page may be written over
        assert main(["report", str(copied), str(other), "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    text = out.read_text(encoding="utf-8")
    tags = parsed(text)
    assert tags.tags.count("img") == 2
    differing = text[text.index("What differs") :]
    differing = differing[: differing.index("</section>")]
    assert "learning rate" in differing
    assert "0.05" in differing
    assert "batch size" not in differing
    assert "another_run_with_quite_a_long_name_to_fit_in" in text
    assert "<td class='best'><span>0.9900</span></td>" in text


def test_a_chart_of_a_long_noisy_curve_is_small_and_goes_logarithmic():
    points = [(i, 1000 / (i + 1)) for i in range(50_000)]
    chart = line_chart({"loss": points}, "loss <a>")
    assert len(chart) < 40_000
    assert "loss &lt;a&gt;" in chart
    assert ">10<" in chart
    assert ">0.1<" in chart
    assert "nan" not in line_chart({"loss": [(0, float("nan")), (1, 1.0), (2, 1.0)]}, "flat")


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_pages_whole(copied, other, tmp_path, width):
    out = tmp_path / "both.html"
    assert main(["report", str(copied), str(other), "--out", str(out)]) == 0
    for page, heading, images in ((copied / "report.html", "toy", 1), (out, "2 runs compared", 2)):
        said = browse(page, width, tmp_path)
        assert said["width"] == width
        assert said["scroll"] <= width
        assert said["wide"] == []
        assert said["small"] == 0
        assert said["images"] == [True] * images
        assert said["charts"]
        assert all(said["charts"])
        assert said["heading"] == heading
        assert said["title"]
