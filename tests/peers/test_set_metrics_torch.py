"""Metrics of sets of features beside torch-fidelity, prdc and MONAI on the same features."""

import numpy as np
import pytest

from jaxgen.metrics import density_coverage, frechet_distance, kernel_distance, precision_recall, statistics
from tests.peers.fidelity_import import import_fidelity

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers

RNG = np.random.default_rng(0)
REAL = RNG.normal(size=(400, 24)) @ RNG.normal(size=(24, 24))
FAKE = 0.5 + 1.1 * RNG.normal(size=(300, 24)) @ RNG.normal(size=(24, 24))


def test_frechet_distance_is_that_of_torch_fidelity_and_monai():
    fid = import_fidelity("metric_fid")
    moments = [fid.fid_features_to_statistics(torch.from_numpy(x)) for x in (FAKE, REAL)]
    theirs = fid.fid_statistics_to_metric(*moments, False)[fid.KEY_METRIC_FID]
    assert frechet_distance(REAL, FAKE) == pytest.approx(theirs, rel=1e-8)
    ours = statistics(np.array_split(REAL, 7))
    np.testing.assert_allclose(ours.mean, moments[1]["mu"], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(ours.covariance, moments[1]["sigma"], rtol=1e-9, atol=1e-10)
    monai = pytest.importorskip("monai.metrics.fid")
    found = monai.compute_frechet_distance(
        *(torch.from_numpy(x) for m in moments for x in (m["mu"], m["sigma"]))  # mu, sigma, mu, sigma
    ).item()
    assert frechet_distance(REAL, FAKE) == pytest.approx(found, rel=1e-4), "its matrix root is less exact"


def test_kernel_distance_of_one_subset_is_that_of_torch_fidelity():
    kid = import_fidelity("metric_kid")
    options = {"kid_kernel": "poly", "kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None}
    theirs = kid.kernel_mmd(FAKE, REAL[:300], **options, kid_kernel_poly_coef0=1)
    assert kernel_distance(REAL[:300], FAKE, subset_size=300).value == pytest.approx(theirs, rel=1e-8)


def test_precision_and_recall_are_those_of_torch_fidelity():
    prc = import_fidelity("metric_prc")
    theirs = prc.calculate_precision_recall_full(torch.from_numpy(FAKE), torch.from_numpy(REAL), 3)
    assert precision_recall(REAL, FAKE) == pytest.approx(theirs, abs=1e-6)
    assert min(theirs) > 0.05
    assert max(theirs) < 0.95


def test_density_and_coverage_are_those_of_prdc():
    prdc = pytest.importorskip("prdc")
    theirs = prdc.compute_prdc(REAL, FAKE, 5)
    assert density_coverage(REAL, FAKE) == pytest.approx((theirs["density"], theirs["coverage"]), rel=1e-12)
    assert precision_recall(REAL, FAKE, k=5) == pytest.approx((theirs["precision"], theirs["recall"]), rel=1e-12)


def test_ties_are_counted_as_prdc_counts_them():
    prdc = pytest.importorskip("prdc")
    rng = np.random.default_rng(0)
    real, fake = (rng.integers(0, 3, (n, 4)).astype(float) for n in (60, 50))
    theirs = prdc.compute_prdc(real, fake, 5)
    assert density_coverage(real, fake) == pytest.approx((theirs["density"], theirs["coverage"]), rel=1e-12)
