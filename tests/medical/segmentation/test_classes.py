"""Several classes: which class a pixel is of, and tables of each class and case."""

import numpy as np
import pytest

from jaxgen.medical.segmentation.cases import Case, of_maps, of_probability, table
from jaxgen.medical.segmentation.classes import (
    UNCERTAINTY,
    by_maps,
    by_probability,
    case_rows,
    classes_table,
    described_classes,
    described_metrics,
)
from jaxgen.metrics.segmentation import average_surface_distance, hausdorff95
from jaxgen.metrics.sparsification import sparsification_error

RNG = np.random.default_rng(0)
SHAPE, NAMES, SPACING = (6, 7, 5), ("core", "rim"), (1.0, 2.0, 3.0)
TRUTH = RNG.integers(0, 3, SHAPE)


def image(maps, probability):
    both = {"unet": by_probability(probability), "flow": by_maps(maps)}
    return tuple(
        Case.of("a", np.zeros((*SHAPE, 1)), TRUTH[None] == k + 1, {n: each[k] for n, each in both.items()}, SPACING)
        for k in range(2)
    )


@pytest.fixture
def cases():
    maps = RNG.uniform(-1, 1, (2, 3, *SHAPE, 2)).astype(np.float32)
    logits = np.exp(RNG.normal(size=(2, *SHAPE, 3)))
    return [image(m, p[..., 1:] / p.sum(-1, keepdims=True)) for m, p in zip(maps, logits, strict=True)]


def test_one_class_is_what_it_was():
    maps, p = RNG.uniform(-1, 1, (3, 4, 4, 1)), RNG.random((4, 4, 1))
    for (one,), other in ((by_maps(maps), of_maps(maps[..., 0])), (by_probability(p), of_probability(p[..., 0]))):
        for name, value in other._asdict().items():
            np.testing.assert_array_equal(getattr(one, name), value, err_msg=name)


def test_a_pixel_is_of_one_class_at_most():
    maps = RNG.uniform(-1, 1, (4, *SHAPE, 2)).astype(np.float32)
    core, rim = by_maps(maps, 0.1)
    lowest = maps.mean(0).argmin(-1)
    inside = maps.mean(0).min(-1) <= 0.1
    np.testing.assert_array_equal(core.mask, inside & (lowest == 0))
    np.testing.assert_array_equal(rim.mask, inside & (lowest == 1))
    assert not (core.members & rim.members).any()
    assert ((maps <= 0.1).all(-1) & (core.members | rim.members)).any()  # both maps are inside: one wins
    np.testing.assert_allclose(core.probability, core.members.mean(0))
    found = described_classes(maps, ("core a/b", "rim"), 0.1)
    assert list(found) == ["mask", "probability_core_a_b", "probability_rim", "uncertainty", "classes"]
    np.testing.assert_array_equal(found["mask"], 1 * core.mask + 2 * rim.mask)
    shares = np.stack([1 - core.probability - rim.probability, core.probability, rim.probability])
    np.testing.assert_allclose(found["uncertainty"], 0.5 * (1 - (shares**2).sum(0)), atol=1e-6)


def test_a_map_that_diverged_is_seen_in_every_class():
    maps = RNG.uniform(-1, 1, (2, *SHAPE, 2)).astype(np.float32)
    maps[0, 0, 0, 0, 1] = np.nan
    assert by_maps(maps)[1].diverged


def test_tables_are_means_over_classes_and_of_each_class(cases):
    found, each = classes_table(cases, NAMES, 4.0), [table(column, 4.0) for column in zip(*cases, strict=True)]
    assert set(found) == {"unet", "flow", "flow_single", "test_images"}
    for row in ("unet", "flow", "flow_single"):
        values = [one[row]["dice"] for one in each]
        assert found[row]["dice"] == pytest.approx(np.mean(values))
        assert [found[row][f"dice, {name}"] for name in NAMES] == values
        assert found[row]["missed"] == sum(one[row]["missed"] for one in each)
    for row in ("unet", "flow"):
        for metric in UNCERTAINTY:
            values = [found[row][f"{metric}, {name}"] for name in NAMES]
            assert values == [one[row][metric] for one in each]
            assert values[0] != values[1]
    errors = [(one[1].predictions["flow"].mask != one[1].truth).ravel() for one in cases]
    uncertain = [one[1].predictions["flow"].uncertainty.ravel() for one in cases]
    of_rim = sparsification_error(np.concatenate(uncertain), np.concatenate(errors))
    assert found["flow"]["sparsification_error, rim"] == of_rim
    assert set(found["flow"]) - {"diverged"} <= set(described_metrics(NAMES, "mm"))
    assert described_metrics(NAMES, "mm")["hausdorff95, rim"][2].startswith("mm, mean")
    assert classes_table([one[:1] for one in cases], ()) == table([one[0] for one in cases])


def test_rows_of_cases_are_in_millimetres(cases):
    rows = case_rows(cases, NAMES)
    assert len(rows) == 2 * 2 * 2
    row = next(r for r in rows if r["class"] == "rim" and r["method"] == "flow")
    pair = cases[0][1].predictions["flow"].mask[None], cases[0][1].truth[None]
    assert row["hausdorff95"] == hausdorff95(*pair, spacing=SPACING)[0] != hausdorff95(*pair)[0]
    assert row["surface_distance"] == average_surface_distance(*pair, spacing=SPACING)[0]
