"""Membership inference, copies, and the release report."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.families import diffusion_model
from jaxgen.medical.privacy import copies, report
from jaxgen.medical.privacy.membership import membership_auc, repeated_loss
from jaxgen.paths import variance_preserving
from jaxgen.samplers import Sampling, ddim, grids
from jaxgen.types import Net

RNG = np.random.default_rng(0)
MEMBERS, OTHERS = RNG.normal(size=(2, 40, 64)).astype(np.float32)


def empirical(path):
    """The exact denoiser of the training set itself: what a model that learnt every image by heart is."""

    def predict(params, x, t, key=None):
        alpha, sigma = (f(t).reshape(-1, 1, 1) for f in (path.alpha, path.sigma))
        distance = jnp.sum((x[:, None] - alpha * MEMBERS[None]) ** 2, -1)
        weight = jax.nn.softmax(-distance / (2 * sigma[..., 0] ** 2), axis=-1)
        return weight @ MEMBERS

    return Net(lambda key, x, t: {}, predict)


def smooth(path):
    """The exact denoiser of N(0, 1), which both sets are drawn from."""

    def predict(params, x, t, key=None):
        alpha, sigma = (f(t)[:, None] for f in (path.alpha, path.sigma))
        return alpha * x / (alpha**2 + sigma**2)

    return Net(lambda key, x, t: {}, predict)


@pytest.mark.parametrize(("make", "low", "high"), [(empirical, 0.99, 1.0), (smooth, 0.35, 0.65)])
def test_members_are_known_by_their_loss_only_where_they_were_learnt_by_heart(make, low, high):
    path = variance_preserving()
    sampling = Sampling(path, ddim(path), grids.uniform(path, 2), prediction="x0")
    model = diffusion_model(make(path), (64,), sampling, data="x")
    losses = [
        np.asarray(repeated_loss(model.objectives[0].loss, {"net": {}}, jax.random.key(0), {"x": x}, 32))
        for x in map(jnp.asarray, (MEMBERS, OTHERS))
    ]
    assert low <= membership_auc(*losses) <= high


def test_equal_examples_have_equal_losses():
    def noisy(params, key, batch):
        return jax.random.normal(key[0]) + jax.vmap(jax.random.normal)(key) * batch["x"], {}

    found = repeated_loss(noisy, {}, jax.random.key(0), {"x": jnp.ones(6)}, 4)
    assert np.ptp(found) == 0


def test_correlated_copies():
    train, new = RNG.normal(size=(2, 200, 16))
    assert copies.correlated_copies(new, train, new) == pytest.approx(0.05)
    noisy = 3 * train + RNG.normal(size=train.shape) * 0.3 + 5
    assert copies.correlated_copies(noisy, train, new) == 1
    half = np.concatenate([noisy[:100], new[:100]])
    assert copies.correlated_copies(half, train, new) == pytest.approx(0.525, abs=0.03)


def test_codes_of_a_person_lie_at_one():
    code, spread = RNG.uniform(-1, 1, (300, 12)), np.linspace(0.05, 0.5, 12)
    measured = code + spread * RNG.normal(size=code.shape)
    distance = copies.code_distance(measured, code, spread)
    assert np.sqrt((np.diag(distance) ** 2).mean()) == pytest.approx(1, abs=0.05)
    by_hand = np.sqrt((((measured[3] - code[5]) / spread) ** 2).mean())
    assert distance[3, 5] == pytest.approx(by_hand)


def test_a_check_without_a_value_never_passes():
    for value, least in ((None, True), (None, False), (np.nan, False), (-np.inf, False), (np.inf, True)):
        found = report.check("x", value, 0.5, least=least, reason="no data")
        assert (found.state, found.value, found.reason) == ("not run", None, "no data")
    with pytest.raises(ValueError, match="needs the reason"):
        report.check("x", None, 0.5)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ("pp", "passed"),
        ("pf", "failed"),
        ("pn", "incomplete"),
        ("fn", "failed"),
        ("n", "incomplete"),
        ("", "incomplete"),
    ],
)
def test_the_verdict(states, expected):
    made = {
        "p": report.check("a", 0.0, 1.0),
        "f": report.check("b", 2.0, 1.0),
        "n": report.check("c", None, 1.0, reason="no data"),
    }
    assert report.verdict([made[state] for state in states]) == expected


def test_the_report_survives_json_and_does_not_believe_an_edited_state():
    known = [
        report.check("a", 0.5, 1.0),
        report.check("b", 0.5, 1.0, least=True),
        report.check("c", float("nan"), 0.0),
    ]
    saved = json.loads(json.dumps(report.to_json(known)))
    assert report.from_json(saved) == known
    assert saved["verdict"] == "failed"
    for row in saved["checks"]:
        row["state"] = "passed"
    assert [one.state for one in report.from_json(saved)] == ["passed", "failed", "not run"]
    for broken in ({}, {"checks": [{"name": "a"}]}, {"checks": 3}, {"checks": ["a"]}):
        with pytest.raises(ValueError, match="no release report"):
            report.from_json(broken)
