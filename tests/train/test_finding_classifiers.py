"""Classifiers on real and synthetic images: what they learn from each, and how images are varied."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.data.captions import stated_findings
from jaxgen.imaging.variations import CONTRAST, classical, moved
from jaxgen.metrics import mean_auroc
from jaxgen.train.finding_classifiers import Labelled, Training, chosen, compared, fit, small_classifier


def spots(n, seed, turned=False):
    """Noise with a bright square in the upper half, the lower, both or neither; `turned` tells all wrongly."""
    rng = np.random.default_rng(seed)
    image, findings = 0.1 * rng.normal(size=(n, 16, 16, 1)), rng.integers(0, 2, (n, 2))
    for x, (upper, lower) in zip(image, findings, strict=True):
        column = rng.integers(2, 10)
        x[2:6, column : column + 4] += upper
        x[10:14, column : column + 4] += lower
    return Labelled(image.astype(np.float32), (1 - findings if turned else findings).astype(np.float32))


TRAINING = Training(small_classifier(2), steps=120, batch_size=16)
TEST = spots(60, 99)


def area(predict):
    return float(mean_auroc(predict(TEST.image), TEST.findings))


@pytest.mark.thorough
def test_a_classifier_learns_what_its_images_say():
    assert area(*fit(TRAINING, spots(60, 0))) > 0.9
    assert area(*fit(TRAINING, None, spots(60, 0, turned=True))) < 0.1


@pytest.mark.thorough
def test_the_share_says_how_much_synthetic_images_count():
    real, wrong = spots(60, 0), spots(60, 1, turned=True)
    few, many = (area(*fit(TRAINING._replace(share=share), real, wrong)) for share in (0.125, 0.875))
    assert few > 0.8
    assert many < 0.2


def test_images_are_needed():
    with pytest.raises(ValueError, match="needs images"):
        fit(TRAINING, None)


def test_the_same_seed_gives_the_same_classifier_and_another_one_another():
    short = TRAINING._replace(steps=3)
    a, b, c = (predict(TEST.image) for predict in fit(short, spots(8, 0), spots(8, 1), seeds=(0, 0, 1)))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 1e-4


def test_images_are_moved_mirrored_and_stretched_within_bounds():
    image = jnp.zeros((200, 12, 12, 1)).at[:, 3, 4].set(1.0)
    varied = classical(jax.random.split(jax.random.key(0), 200), {"image": image, "findings": jnp.ones((200, 1))})
    level = np.asarray(jnp.median(varied["image"], (1, 2)))[:, 0]
    assert -CONTRAST <= level.min() < -0.15
    assert 0.15 < level.max() <= CONTRAST
    peak = np.asarray(varied["image"].max((1, 2)))[:, 0] - level
    assert 1 - CONTRAST <= peak.min() < 0.85
    assert 1.15 < peak.max() <= 1 + CONTRAST + 1e-6
    places = {divmod(int(i), 12) for i in varied["image"].reshape(200, -1).argmax(1)}
    assert places == {(row, column) for row in (2, 3, 4) for column in (3, 4, 5, 6, 7, 8)}


@pytest.mark.thorough
def test_the_table_names_each_set_of_images_and_its_spread():
    scores = iter(range(8))
    found = compared(TRAINING._replace(steps=1), spots(8, 0), spots(8, 1), TEST, lambda p, y: next(scores), seeds=2)
    assert [row["score"] for row in found.values()] == [0.5, 2.5, 4.5, 6.5]
    assert all(row["spread"] == pytest.approx(0.5**0.5) for row in found.values())


def test_stated_findings_reports_are_those_they_state():
    from jaxgen.data.captions import Report
    from jaxgen.data.phantoms import FINDINGS, Finding

    found = stated_findings([Report("", (Finding("nodule", "left"),), ("effusion",)), Report("", (), ())])
    assert found[0].tolist() == [float(name == "nodule") for name in FINDINGS]
    assert not found[1].any()


@pytest.mark.thorough
def test_findings_that_all_or_none_have_do_not_count():
    score, label = np.array([[0.2, 0.9, 0.5], [0.8, 0.1, 0.5]]), np.array([[0, 0, 1], [1, 1, 1]])
    assert float(mean_auroc(score, label)) == 0.5
    assert np.isnan(float(mean_auroc(score[:, 2:], label[:, 2:])))
    assert np.isnan(float(mean_auroc(np.array([[np.nan, 1.0], [0.5, 0.0]]), label[:, :2])))


def test_images_of_weight_zero_are_never_taken_and_others_in_proportion():
    until = jnp.cumsum(jnp.array([0.0, 0.75, 0.0, 0.25, 0.0]))
    how = TRAINING._replace(batch_size=50)
    taken = np.concatenate([chosen(how, jax.random.key(0), jnp.int32(i), [until])[0] for i in range(40)])
    counts = np.bincount(taken, minlength=5)
    assert counts[[0, 2, 4]].sum() == 0
    assert abs(counts[1] / counts.sum() - 0.75) < 0.04


def test_which_images_were_synthetic_is_known_from_the_key_and_the_step():
    until = [jnp.linspace(0.1, 1, 10), jnp.linspace(0.05, 1, 20)]
    how = TRAINING._replace(batch_size=8, share=0.25)
    real, synthetic = chosen(how, jax.random.key(3), jnp.int32(5), until)
    assert (len(real), len(synthetic)) == (6, 2)
    again = chosen(how, jax.random.key(3), jnp.int32(5), until)
    np.testing.assert_array_equal(np.concatenate(again), np.concatenate([real, synthetic]))


@pytest.mark.thorough
def test_weights_say_what_a_classifier_learns():
    right, wrong = spots(60, 0), spots(60, 1, turned=True)
    both = Labelled(np.concatenate([right.image, wrong.image]), np.concatenate([right.findings, wrong.findings]))
    weight = np.repeat([1.0, 0.0], 60)
    assert area(*fit(TRAINING, both._replace(weight=weight))) > 0.9
    assert area(*fit(TRAINING, both._replace(weight=1 - weight))) < 0.1


def test_what_has_a_side_is_not_mirrored():
    image = jnp.zeros((200, 24, 24, 1)).at[:, 12, 2].set(1.0)
    batch = {"image": image, "findings": jnp.ones((200, 1))}
    for vary, most in ((moved, 5), (classical, 23)):
        columns = np.asarray(vary(jax.random.key(1), batch)["image"]).max((1, 3)).argmax(-1)
        assert columns.max() <= most
    assert columns.max() > 12
