"""The pages: what is in them, and how a real browser shows them."""

import base64
import html.parser
import json
import os
import re
import shutil
import subprocess
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from jaxgen.app import comparison_page, report, runs, tables
from jaxgen.app.charts import line_chart
from jaxgen.app.cli import main

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
PROBE = """<script>addEventListener('load', () => {
  document.querySelectorAll('details').forEach(d => d.open = true);
  const wide = [...document.querySelectorAll('body *')].filter(
    e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll, pre, label, svg'));
  const said = {
    width: innerWidth, scroll: document.documentElement.scrollWidth, title: document.title,
    images: [...document.images].map(i => i.complete && i.naturalWidth > 0),
    charts: [...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().width > 50),
    scrolled: [...document.querySelectorAll('.scroll')].map(e => e.scrollWidth - e.clientWidth).filter(w => w > 1),
    heads: [...document.querySelectorAll('.wide thead th')].filter(e => e.getBoundingClientRect().width > 0).length,
    names: [...document.querySelectorAll('.wide .of')].filter(e => e.getBoundingClientRect().width > 0).length,
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


def test_rows_that_are_no_methods_are_never_the_best(copied):
    rows = {"flow": 0.2, "gaussian": 0.3, "held-out images": 0.1}
    metrics = {name: {"frechet": value} for name, value in rows.items()}
    text = tables.table(metrics, {"frechet": {"better": "lower"}})
    assert text.splitlines()[1].split() == ["Frechet", "0.2000*", "0.3000", "0.1000"]
    assert text.splitlines()[-1] == "* the best method by this metric"
    (copied / "metrics.json").write_text(json.dumps(metrics))
    captions = json.loads((copied / "figures" / "captions.json").read_text())
    captions["describe"] = {"frechet": {"better": "lower"}}
    (copied / "figures" / "captions.json").write_text(json.dumps(captions))
    assert re.findall(r"<td class='best'><span>(.*?)</span>", report.page(runs.open_run(copied))) == ["0.2000"]


def test_numbers_of_one_column_have_as_many_digits():
    text = tables.table({"a": {"psnr": 9.81234}, "b": {"psnr": 12.3}, "c": {"psnr": 101.25}})
    assert text.splitlines()[1].split() == ["Psnr", "9.81", "12.30", "101.25*"]


def test_a_page_says_what_evaluations_while_training_are_measured_on(copied):
    row = {"stage": "logistic", "step": 10, "evaluation/logistic/accuracy": 0.5, "figure": "logistic-00000010"}
    with (copied / "log.jsonl").open("a") as log:
        log.write(json.dumps(row) + "\n")
    assert "validation images" not in report.page(runs.open_run(copied))
    about = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(about | {"previews": True}))
    assert "measured on a few validation images" in report.page(runs.open_run(copied))


def test_the_best_is_marked_in_the_direction_that_is_better():
    said = tables.table(
        {"a": {"dice": 0.9, "hausdorff95": 3.0, "auroc": 0.5}, "b": {"dice": 0.8, "hausdorff95": 2.0, "auroc": 0.5}}
    )
    dice, hausdorff, auroc, star = said.splitlines()[1:]
    assert star == "* the best method by this metric"
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


# What is said at the top


def set_json(path, **entries):
    found = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**found, **entries}))


def before_results(text):
    return text[text.index("<body>") : text.index("Results")]


def test_a_smoke_run_says_at_the_top_that_it_only_shows_that_the_parts_work(copied, other, capsys):
    set_json(other / "config.json", preset="small")
    words = "this only shows that the parts work"
    assert words in before_results(report.page(runs.open_run(copied)))
    assert words not in report.page(runs.open_run(other))
    both = before_results(comparison_page.compare([runs.open_run(copied), runs.open_run(other)]))
    assert f"{copied.name}: {words}" in both
    assert words not in comparison_page.compare([runs.open_run(other)])
    assert main(["run", str(copied)]) == 0
    assert "only shows that the parts work" in capsys.readouterr().out


def test_a_page_with_images_says_so_and_no_images_leaves_them_out(copied, other, tmp_path):
    page, both = copied / "report.html", tmp_path / "both.html"
    for argv, path in (([str(copied)], page), ([str(copied), str(other), "--out", str(both)], both)):
        assert main(["report", *argv]) == 0
        text = path.read_text(encoding="utf-8")
        assert "This page shows images of the data" in before_results(text)
        assert "--no-images" in before_results(text)
        assert main(["report", *argv, "--no-images"]) == 0
        text = path.read_text(encoding="utf-8")
        assert "<img" not in text
        assert "base64" not in text
        assert "This page shows images" not in text
        assert "left out of this page (--no-images)" in before_results(text)
        parsed(text)


def test_a_run_can_end_with_a_page_without_images(copied, toy_file):
    (copied / "report.html").unlink()
    argv = ["run", str(toy_file), "--preset", "smoke", "--workdir", str(copied), "--no-images"]
    assert main(argv) == 0
    assert "<img" not in (copied / "report.html").read_text()
    (copied / "metrics.json").unlink()
    assert main(argv) == 0
    assert "<img" not in (copied / "report.html").read_text()
    assert (copied / "figures" / "examples.png").is_file()


def test_a_page_without_figures_says_nothing_of_images(copied):
    (copied / "figures" / "examples.png").unlink()
    assert "This page shows images" not in report.page(runs.open_run(copied))


# What a page may hold


@pytest.mark.parametrize(
    "name", ["../../secret", "SECRET", "link", "dangling", "..", "", "figures/../../../secret", "pipe", "a\0b", 3, None]
)
def test_a_page_holds_figures_of_the_run_alone(copied, tmp_path, name):
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"VICTIM")
    (copied / "figures" / "link.png").symlink_to(secret)
    (copied / "figures" / "dangling.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(copied / "figures" / "pipe.png")
    name = str(secret.with_suffix("")) if name == "SECRET" else name
    set_json(copied / "figures" / "captions.json", figures=[{"name": name, "caption": "x"}])
    folder = runs.open_run(copied)
    for text in (report.page(folder), comparison_page.compare([folder, folder])):
        parsed(text)
        assert base64.b64encode(b"VICTIM").decode() not in text
        assert "<img" not in text
    assert "left out" in report.page(folder) or "is missing" in report.page(folder)


@pytest.mark.parametrize("name", ["figures", "metrics.json", "log.jsonl", "report.html", "figures/captions.json"])
def test_report_refuses_a_run_with_links_and_writes_nowhere_else(copied, tmp_path, capsys, name):
    elsewhere = tmp_path / "elsewhere"
    (copied / name).rename(elsewhere)
    before = elsewhere.read_bytes() if elsewhere.is_file() else sorted(elsewhere.iterdir())
    (copied / name).symlink_to(elsewhere)
    assert main(["report", str(copied)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "it is a link" in error
    assert before == (elsewhere.read_bytes() if elsewhere.is_file() else sorted(elsewhere.iterdir()))


FILES = ("config", "data", "environment", "timings", "metrics", "figures/captions")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    "content",
    ["{", "[]", '""', "null", "3", "[" * 50_000, '{"a": NaN}', '{"a": ' + "9" * 400 + "}", '{"a": "\\ud800"}'],
)
def test_report_of_a_run_with_damaged_json_is_one_line(copied, capsys, file, content):
    (copied / f"{file}.json").write_text(content)
    for argv in ([str(copied)], [str(copied), str(copied), "--out", str(copied.parent / "both.html")]):
        assert main(["report", *argv]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert f"{file}.json" in error
        assert "restore it from a copy" in error


@pytest.mark.parametrize(
    ("file", "entries"),
    [
        ("config", {"config": [1]}),
        ("config", {"experiment": {"a": 1}}),
        ("config", {"changed": [3]}),
        ("timings", {"stages": [1]}),
        ("timings", {"measured": {"a": 3}}),
        ("figures/captions", {"figures": {"a": 1}}),
        ("figures/captions", {"describe": {"accuracy": "x"}}),
        ("figures/captions", {"order": {"methods": [{}]}}),
        ("figures/captions", {"headline": 3}),
    ],
)
def test_report_of_a_run_with_entries_of_another_kind_is_one_line(copied, capsys, file, entries):
    set_json(copied / f"{file}.json", **entries)
    assert main(["report", str(copied)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{file}.json: its entry {next(iter(entries))!r}"[:-1] in error


@pytest.mark.parametrize(
    ("file", "entries"),
    [
        ("metrics", {"logistic": {"accuracy": [1, [2, {"a": 3}]], "deep": {"a": {"b": None}}}, "x": [[]], "y": "text"}),
        ("metrics", {"logistic": {"accuracy": 99999999999999999999}, "constant": {"accuracy": True}}),
        ("data", {"train": "many", "name": {"a": 1}, "licence": [1, [2]]}),
        ("environment", {"versions": [1], "device": {"a": 1}}),
        ("figures/captions", {"describe": {"accuracy": {"better": ["x"], "label": [1], "help": {}}}}),
        ("timings", {"total_seconds": 1e300, "other": [1]}),
    ],
)
def test_odd_entries_do_not_break_a_page(copied, file, entries):
    set_json(copied / f"{file}.json", **entries)
    parsed(report.page(runs.open_run(copied)))


def test_characters_that_hide_others_are_escaped(copied):
    odd = "a\u202egnp.exe\u2066\x1b[2J\x00\u200b\u061c\u2028end"
    set_json(copied / "config.json", experiment=odd, summary=odd)
    set_json(copied / "figures" / "captions.json", headline=odd, figures=[{"name": "examples", "caption": odd}])
    set_json(copied / "metrics.json", **{odd: {odd: 1}})
    with (copied / "log.jsonl").open("a") as log:
        log.write(json.dumps({"stage": odd, "step": 1, odd: 1.0, "warning": odd}) + "\n")
    folder = runs.open_run(copied)
    for text in (report.page(folder), comparison_page.compare([folder, folder])):
        assert not [letter for letter in text if unicodedata.category(letter) in ("Cc", "Cf", "Cs") and letter != "\n"]
        assert "\\u202e" in text
        parsed(text)


def test_a_page_names_no_path_of_this_machine(copied, other, tmp_path, monkeypatch):
    home = tmp_path / "home" / "jane doe"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    run = copied.rename(home / "my run")
    set_json(
        run / "config.json",
        command=f"jaxgen run '{home}/my exp.py' --data '{home}/scans'",
        config={"data": f"{home}/scans", "kspace": f"{home}/k.npz", "learning_rate": 0.1},
    )
    set_json(run / "data.json", origin=f"folder {home}/scans", name=f"{home}/scans")
    set_json(run / "environment.json", command_line=f"jaxgen run --data '{home}/scans'")
    set_json(run / "figures/captions.json", headline=f"read from {tmp_path}/home/x.png, see https://a.org/b")
    with (run / "log.jsonl").open("a") as log:
        log.write(json.dumps({"stage": "s", "step": 1, "warning": f"{tmp_path}/x/y.png: it is dark"}) + "\n")
    folder = runs.open_run(run)
    for text in (report.page(folder), comparison_page.compare([folder, runs.open_run(other)])):
        for private in (str(tmp_path), str(home), "jane", str(Path(__file__).parent)):
            assert private not in text
        assert "https://a.org/b" in text
        assert "my run" in text
    assert "y.png: it is dark" in report.page(folder)


def test_environment_and_data_hold_no_path_of_this_machine(monkeypatch, tmp_path):
    from jaxgen.app import provenance

    argv = [f"{tmp_path}/bin/jaxgen", "run", f"{tmp_path}/my exp.py", f"--data={tmp_path}/scans", "../../jane/x", "~/y"]
    monkeypatch.setattr("sys.argv", argv)
    said = json.dumps(provenance.environment())
    assert str(tmp_path) not in said
    assert "jane" not in said
    assert "jaxgen run 'my exp.py' --data=scans x y" in said


def test_runs_of_one_name_are_told_apart_without_their_folders(copied, tmp_path):
    a, b = tmp_path / "a" / "try", tmp_path / "b" / "try"
    for path in (a, b):
        shutil.copytree(copied, path)
    text = comparison_page.compare([runs.open_run(a), runs.open_run(b)])
    assert "<b>1</b>a/try" in text
    text = comparison_page.compare([runs.open_run(a), runs.open_run(a)])
    assert "<b>1</b>try (1)" in text
    assert "<b>2</b>try (2)" in text


# What is compared


OTHER_DATA = {
    "another name": {"name": "other"},
    "another folder": {"origin": "folder other"},
    "other images": {"names": "00000000"},
    "other pixels": {"content": "00000000"},
    "more images": {"test": 9},
}


@pytest.mark.parametrize("entries", OTHER_DATA.values(), ids=OTHER_DATA)
def test_a_best_value_is_marked_among_runs_on_the_same_data_alone(copied, other, tmp_path, entries):
    third = Path(shutil.copytree(other, tmp_path / "third"))
    set_json(third / "data.json", **entries)
    metrics = json.loads((third / "metrics.json").read_text())
    metrics["logistic"]["accuracy"] = 0.999
    (third / "metrics.json").write_text(json.dumps(metrics))
    text = comparison_page.compare([runs.open_run(path) for path in (copied, other, third)])
    assert "<td class='best'><span>0.9900</span></td>" in text
    assert "<td>0.9990</td>" in text
    assert "not all on the same data" in text
    text = comparison_page.compare([runs.open_run(path) for path in (copied, third)])
    assert "class='best'" not in text
    text = comparison_page.compare([runs.open_run(path) for path in (copied, other)])
    assert "not all on the same data" not in text


def test_other_pixels_under_the_same_names_are_other_data():
    from jaxgen.app import provenance
    from jaxgen.data.source import ArraySource, Splits

    def about(value):
        parts = (ArraySource({"image": np.full((4, 3, 3, 1), value, np.uint8)}) for _ in range(3))
        return provenance.about_data(Splits(*parts, name="a", origin="file /home/jane/a.npz"))

    assert about(1) == about(1)
    assert about(1)["content"] != about(2)["content"]
    assert about(1)["origin"] == "file a.npz"


def test_runs_that_do_not_say_their_data_are_not_compared(copied, other):
    for path in (copied, other):
        (path / "data.json").unlink()
    text = comparison_page.compare([runs.open_run(path) for path in (copied, other)])
    assert "class='best'" not in text


# Wide tables


METHODS = [f"method {i} with quite a long name" for i in range(9)]
MANY = {name: {f"metric_{k}": 0.123 * (i + k) for k in range(9)} for i, name in enumerate(METHODS)} | {"images": 8}


@pytest.mark.parametrize("columns", [40, 60, 80, 120, 400])
def test_a_table_fits_the_terminal_and_loses_nothing(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    for metrics in (MANY, {name: MANY[name] for name in METHODS[:4]}):
        said = tables.table(metrics)
        assert max(map(len, said.splitlines())) <= columns
        for name, values in metrics.items():
            for value in values.values() if isinstance(values, dict) else ():
                assert f"{value:.4f}" in said
            if isinstance(values, dict) and columns >= 80:
                assert name in said


def test_a_table_that_fits_is_one_table(monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    assert len(tables.table(MANY).splitlines()) == 12  # head, methods, what a star is, one number
    monkeypatch.setenv("COLUMNS", "80")
    assert tables.table(MANY).count("\nmethod ") > 1


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome here: the pages are not seen by a browser")
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


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome here: the pages are not seen by a browser")
@pytest.mark.parametrize("width", [1280, 390, 320])
def test_a_wide_table_fits_a_phone(copied, other, tmp_path, width):
    """Wider than the page it may be scrolled on a desk; on a phone it is a list."""
    for path in (copied, other):
        (path / "metrics.json").write_text(json.dumps(MANY))
    out = tmp_path / "both.html"
    assert main(["report", str(copied), str(other), "--out", str(out)]) == 0
    assert main(["report", str(copied)]) == 0
    for page in (copied / "report.html", out):
        said = browse(page, width, tmp_path)
        assert said["scroll"] <= width
        assert said["wide"] == []
        phone = width <= 600
        assert not phone or said["scrolled"] == []
        assert (said["heads"] == 0, said["names"] > 0) == (phone, phone), "heads above the columns, or before each cell"


@pytest.mark.parametrize("images", [True, False])
@pytest.mark.parametrize("patients", [["ID-77"], ["ID-77", "ID-78"], ["ID-77 <b>"]])
def test_no_page_shows_the_ids_of_test_patients(toy_run, tmp_path, patients, images):
    shutil.copytree(toy_run, tmp_path / "run")
    about = json.loads((tmp_path / "run" / "data.json").read_text())
    about |= {"test_patients": patients, "patients": {"test": len(patients), "train": 4}}
    (tmp_path / "run" / "data.json").write_text(json.dumps(about))
    folder = runs.open_run(tmp_path / "run")
    assert "ID-7" not in report.page(folder, images=images)
    assert "patients" in report.page(folder, images=images)
    assert "ID-7" not in comparison_page.compare([folder, folder], images=images)


@pytest.mark.parametrize("images", [True, False])
def test_the_page_of_an_evaluation_says_what_the_page_of_a_run_says(copied, images, tmp_path):
    argv = ["eval", str(copied), "--out", str(tmp_path / "out"), *([] if images else ["--no-images"])]
    words = "this only shows that the parts work"
    assert main(argv) == 0
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert words in before_results(text)
    assert ("<img" in text) == ("This page shows images" in before_results(text)) == images
    assert ("left out of this page (--no-images)" in before_results(text)) == (not images)
    set_json(copied / "config.json", preset="small")
    assert main(argv) == 0
    assert words not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
