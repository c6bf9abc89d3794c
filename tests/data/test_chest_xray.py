import collections
import itertools

import numpy as np
import pytest

from jaxgen.data import load, phantoms
from jaxgen.data.captions import (
    HELD_OUT,
    SYNONYMS,
    WORDINGS,
    report_of,
    reworded,
    shapes_caption,
    table_captions,
    texts_of,
)
from jaxgen.data.npz import load_npz
from jaxgen.data.options import Options
from jaxgen.data.phantoms import chest_xray, radiograph
from jaxgen.data.source import Subset
from jaxgen.errors import UserError

EXAMPLES = 300


def rate(found, wanted):
    """For each finding the share of images in which it is told right, all of its side, size and zone included."""
    right = collections.Counter()
    for there, seen in zip(wanted, found, strict=True):
        for name in phantoms.FINDINGS:
            right[name] += {f for f in there if f.name == name} == {f for f in seen if f.name == name}
    return {name: right[name] / len(wanted) for name in phantoms.FINDINGS}


@pytest.mark.parametrize("size", [32, 64, 96])
def test_what_is_drawn_is_measured(size):
    examples = [phantoms.cxr2d(5, i, size) for i in range(EXAMPLES)]
    measured = [phantoms.measure_radiograph(example["image"]) for example in examples]
    truth = [phantoms.findings_of(5, i) for i in range(EXAMPLES)]
    assert min(rate([m.findings for m in measured], truth).values()) >= 0.97
    ratio = np.array([m.ratio - e["ratio"] for m, e in zip(measured, examples, strict=True)])
    assert np.nanmax(abs(ratio)) < 0.05
    wet = [(m.fluid - e["fluid"])[e["fluid"] > 0] for m, e in zip(measured, examples, strict=True)]
    assert abs(np.concatenate(wet)).max() < 0.12
    assert max(m.fluid[e["fluid"] == 0].max(initial=0) for m, e in zip(measured, examples, strict=True)) < 0.15


def test_a_measurement_that_sees_nothing_is_found_out():
    truth = [phantoms.findings_of(5, i) for i in range(EXAMPLES)]
    assert max(rate([()] * EXAMPLES, truth).values()) < 0.9
    flipped = [phantoms.measure_radiograph(phantoms.cxr2d(5, i)["image"][:, ::-1]).findings for i in range(EXAMPLES)]
    assert min(rate(flipped, truth).values()) < 0.85, "right and left count"


def test_findings_change_nothing_else_and_visits_keep_the_person():
    healthy = phantoms.cxr2d(0, 3, findings=())
    ill = phantoms.cxr2d(0, 3, findings=(phantoms.Finding("nodule", "left", zone="upper"),))
    changed = np.argwhere(healthy["image"][..., 0] != ill["image"][..., 0])
    assert len(changed) > 0
    assert (changed[:, 1] > 32).all(), "the patient's left is on the right of the image"
    assert (changed[:, 0] < 32).all()
    people = [[phantoms.cxr2d(0, i, visit=v, findings=()) for v in range(2)] for i in range(8)]
    for first, second in people:
        np.testing.assert_array_equal(first["code"], second["code"])
        assert (first["image"] != second["image"]).any()
    distance = np.array([[abs(a["image"] - b["image"]).mean() for _, b in people] for a, _ in people])
    others = distance[~np.eye(8, dtype=bool)]
    assert np.diag(distance).mean() < 0.8 * others.mean()


def test_every_number_of_the_code_shows_in_the_image():
    images = [phantoms.cxr2d(0, i, findings=()) for i in range(40)]
    code, pixels = np.stack([e["code"] for e in images]), np.stack([e["image"].ravel() for e in images])
    assert abs(code).max() <= 1
    base = chest_xray.person_of(np.zeros(12))
    for k in range(12):
        assert chest_xray.person_of(np.eye(12)[k]) != base
        above, below = pixels[code[:, k] > 0.3].mean(0), pixels[code[:, k] < -0.3].mean(0)
        assert abs(above - below).max() > 0.04, k


def test_reports_say_what_is_there_and_deny_what_is_not():
    stated, denied, words = collections.Counter(), collections.Counter(), set()
    for i in range(400):
        said, truth = report_of(1, i), phantoms.findings_of(1, i)
        assert len(said.stated) == len(truth)
        for finding, real in zip(said.stated, truth, strict=True):
            assert finding.name == real.name
            assert finding.side == real.side
            assert finding.size in ("", real.size)
            assert finding.zone in ("", real.zone)
            assert real.side in said.text
        assert not {f.name for f in truth} & set(said.denied)
        assert said == report_of(1, i)
        stated.update(f.name for f in truth)
        denied.update(said.denied)
        words |= set(said.text.replace(",", "").replace("-", " ").split())
    assert set(stated) == set(denied) == set(phantoms.FINDINGS)
    known = " | ".join(report_of(1, i).text for i in range(400))
    for i in range(60):
        other = report_of(2, i, HELD_OUT)
        assert set(other.text.replace(",", "").replace("-", " ").split()) <= words, "no word is new"
        if other.stated:
            first = other.text.split(", ")[0]
            assert first not in known.split(", "), "but the wording is"
    assert WORDINGS.keys() == HELD_OUT.keys()


def test_the_computed_set_has_reports_without_drawing():
    splits = load("cxr_phantom/16", wants=("image", "text"), optional=("labels",))
    assert splits.label_names == phantoms.FINDINGS
    example = splits.test[7]
    assert str(example["text"]) == texts_of(splits.test)[7]
    assert texts_of(Subset(splits.test, [7, 2])) == [texts_of(splits.test)[k] for k in (7, 2)]
    assert "arrays" not in vars(splits.test)
    assert set(texts_of(splits.train)) & set(texts_of(splits.test)), "reports repeat, people do not"
    with pytest.raises(UserError, match="has no text"):
        load("ct_phantom", wants=("image", "text"))


def images(n=8):
    return np.random.default_rng(0).integers(0, 255, (n, 8, 8), np.uint8)


def test_captions_of_a_file(tmp_path):
    path, texts = tmp_path / "a.npz", [f"picture {i}" for i in range(8)]
    np.savez(path, images=images(), captions=np.array(texts))
    splits = load_npz(path, Options(wants=("image", "text"), spatial=2))
    parts = [texts_of(part) for part in splits[:3]]
    assert sorted(itertools.chain(*parts)) == texts
    for part in splits[:3]:
        for i, text in enumerate(texts_of(part)):
            np.testing.assert_array_equal(part[i]["image"][..., 0], images()[int(text.split()[1])])
    assert "text" not in load_npz(path, Options(wants=("image",), spatial=2)).train[0]


def test_captions_written_from_a_table(tmp_path):
    path = tmp_path / "a.npz"
    table = {
        "finding": np.array(["Mass|Nodule", "No Finding"] * 4),
        "age": np.arange(8) * 10,
        "sex": np.array(["F"] * 8),
    }
    np.savez(path, images=images(), **table)
    splits = load_npz(path, Options(wants=("image", "text"), spatial=2))
    expected = "chest radiograph of a woman in her forties: mass, nodule"
    assert expected in itertools.chain(*map(texts_of, splits[:3]))
    assert table_captions(["Mass"], view=["AP"], sex=["M"], age=[95])[0].endswith("man in his nineties: mass")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "has no array `texts`"),
        ({"texts": np.array(["a"])}, "`texts` has 1 examples"),
        ({"texts": np.array(["a"] * 8), "captions": np.array(["a"] * 8)}, "both `texts` and `captions`"),
        ({"finding": np.array(["a"])}, r"`finding` has size \(1,\)"),
        ({"finding": np.array(["a"] * 8), "age": np.array(["x"] * 8)}, "`age` has values of type"),
    ],
)
def test_wrong_captions_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", images=images(), **arrays)
    with pytest.raises(UserError, match=message):
        load(tmp_path / "a.npz", wants=("image", "text"), spatial=2)


def test_a_folder_has_no_captions(tmp_path):
    with pytest.raises(UserError, match="captions are read from an npz only"):
        load(tmp_path, wants=("image", "text"))


def test_sizes_below_what_can_be_drawn_are_refused():
    with pytest.raises(ValueError, match="16"):
        phantoms.cxr2d(0, 0, 8)
    assert radiograph.measure_radiograph(phantoms.cxr2d(0, 0, 16)["image"]).fluid.shape == (2,)


def test_shapes_lie_where_their_captions_say():
    words = set()
    for i in range(60):
        mask, shapes = phantoms.shapes2d(0, i)["mask"], phantoms.shapes_of(0, i)
        for shape in shapes:
            half = mask[:, :32] if shape.side == "left" else mask[:, 32:]
            rows = np.flatnonzero(half.any(1))
            middle = {"upper": 16, "middle": 32, "lower": 48}[shape.zone]
            assert abs(rows.mean() - middle) < 6
            image = phantoms.shapes2d(0, i)["image"][..., 0]
            inside = image[:, :32][half > 0] if shape.side == "left" else image[:, 32:][half > 0]
            assert (inside.mean() > 0.5) == (shape.shade == "bright")
        said = shapes_caption(0, i)
        assert all(shape.kind in said and shape.side in said for shape in shapes)
        words |= set(said.replace(",", "").split())
    assert all(words & set(names) for names in SYNONYMS.values())


def test_other_words_for_a_report_keep_what_it_says():
    rng = np.random.default_rng(0)
    others = {word for names in SYNONYMS.values() for word in names[1:]}
    changed = 0
    for i in range(80):
        usual = report_of(0, i)
        other = reworded(usual, rng)
        assert other[1:] == usual[1:]
        assert not others & set(usual.text.split())
        named = any(finding.size or finding.zone for finding in usual.stated)
        assert bool(others & set(other.text.replace(",", "").split())) == named
        changed += named
    assert changed > 20
