"""Methods compared in situations: tuned alike on validation images, then evaluated on others; the table of them."""

import types

import jax
import numpy as np
import pytest

from jaxgen.experiment import Run
from jaxgen.medical.reconstruction import catalogue
from jaxgen.medical.reconstruction.cases import Case, Method, Samples, choose
from jaxgen.tasks.reconstruction import comparison

TRUTH = np.random.default_rng(0).random((3, 12, 12, 1)).astype(np.float32)
CONFIG = types.SimpleNamespace(calibration=2, repeats=4)


class Numbered:
    """A scan that knows which of the images it is of, and what is added to them."""

    def __init__(self, offset, numbers=(0, 1, 2)):
        self.offset, self.numbers = offset, np.asarray(numbers)

    def take(self, numbers):
        return Numbered(self.offset, self.numbers[numbers])


def cases(**offsets):
    key = jax.random.key(0)
    return {name: Case(Numbered(o), TRUTH, key, f"situation {name}", 1.0, (0.0, 1.0)) for name, o in offsets.items()}


def minus(asked):
    """A method that is right where its setting is the scan's offset."""

    def run(scan, setting):
        asked.append((scan.offset, setting))
        return TRUTH[scan.numbers] + scan.offset - setting

    return run


def drawing(scan, setting, key, repeats):
    noise = 0.1 * np.asarray(jax.random.normal(key, (repeats, len(scan.numbers), 12, 12, 1)))
    drawn = TRUTH[scan.numbers] + scan.offset - setting + noise
    return Samples(drawn, drawn.mean(0), np.full((repeats, len(scan.numbers)), 0.25))


def test_every_method_is_tuned_in_its_situations():
    asked = []
    methods = (
        Method("own", minus(asked), (0.0, 0.5, 1.0)),
        Method("once", minus([]), (0.0, 0.5, 1.0), tuned_on={"b": "a"}),
        Method("some", minus([]), (0.5, 1.0), only=("b",)),
        Method("none", minus([])),
        Method("drawn", drawing, (0.0, 0.5, 1.0), draws=True),
    )
    chosen = choose(methods, cases(a=0.5, b=1.0), calibration=CONFIG.calibration, repeats=CONFIG.repeats)
    assert {name: row["own"] for name, row in chosen.items()} == {"a": 0.5, "b": 1.0}
    assert asked == [(o, s) for o in (0.5, 1.0) for s in (0.0, 0.5, 1.0)]
    assert {name: row["once"] for name, row in chosen.items()} == {"a": 0.5, "b": 0.5}
    assert "some" not in chosen["a"]
    assert chosen["b"]["some"] == 1.0
    assert "none" not in chosen["a"]
    assert chosen["a"]["drawn"] == 0.5
    assert 0.1 < chosen["a"]["drawn widening"] < 3


def test_test_images_are_reconstructed_with_what_validation_chose():
    asked = []
    baselines = (Method("plain", minus(asked), (0.5, 1.0)), Method("only b", minus([]), (1.0,), only=("b",)))
    methods = (Method("drawn", drawing, (0.5, 1.0), draws=True),)
    validation, test = cases(a=0.5, b=1.0), cases(a=0.6, b=1.2)
    found = comparison.compare(Run(CONFIG, None), baselines, methods, validation, test, about="of numbers")
    assert asked[-2:] == [(0.6, 0.5), (1.2, 1.0)]
    metrics = found.metrics
    assert metrics["plain"]["psnr_a"] == pytest.approx(20, abs=0.01)
    assert metrics["plain"]["psnr_b"] == pytest.approx(20 * np.log10(5), abs=0.01)
    assert set(metrics["only b"]) == {"psnr_b", "ssim_b"}
    assert metrics["plain_setting_a"] == 0.5
    assert metrics["slices"] == 3
    assert metrics["drawn"]["kept_a"] == 0.25
    assert metrics["drawn"]["sample_a"] < metrics["drawn"]["psnr_a"], "the mean is nearer than a sample"
    assert set(metrics["plain"]) | set(metrics["drawn"]) <= set(found.describe)
    assert set(found.figures) == {"a", "b"}
    assert set(found.timings["drawn, s per slice"]) == {"a", "b"}
    assert "situation b drawn" in found.headline
    assert "(plain 14.0, only b 14.0)" in found.headline


def test_what_is_ignored_is_not_compared():
    ignore = np.zeros(TRUTH.shape, bool)
    ignore[:, :, 6:] = True
    case = Case(None, TRUTH, None, "", 1.0, (0.0, 1.0), ignore, foreground=0.5)
    assert case.quality(TRUTH + 0.1 + 5 * ignore)[0] == pytest.approx(20, abs=0.01)
    assert not case.seen[ignore].any()
    assert (TRUTH[case.seen] > 0.5).all()


def test_a_posterior_method_is_a_line_of_the_table(monkeypatch):
    monkeypatch.setitem(catalogue.METHODS, "mine", catalogue.PosteriorMethod(catalogue.dps_sampler, {"ct": (2.0,)}))
    assert "mine" in catalogue.offered("ct")
    assert "mine" not in catalogue.offered("mri")
