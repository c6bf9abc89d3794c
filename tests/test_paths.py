import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths

PATHS = {
    "rectified": paths.rectified(),
    "rectified with sigma_min": paths.rectified(1e-2),
    "trigonometric": paths.trigonometric(),
    "variance preserving": paths.variance_preserving(),
    "variance exploding": paths.variance_exploding(),
}
each_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())


def _name(path):
    return next(name for name, other in PATHS.items() if other is path)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def _pair(shape=(3, 4, 5, 2), seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=shape) + 2), jnp.asarray(rng.normal(size=shape))


@each_path
def test_ends(path):
    assert float(path.alpha(path.t_data)) == 1
    assert float(path.sigma(path.t_noise)) > 49 * float(path.alpha(path.t_noise))
    left = {"rectified with sigma_min": 0.01, "variance exploding": 0.01}.get(_name(path), 0.0)
    np.testing.assert_allclose(float(path.sigma(path.t_data)), left, rtol=1e-6, atol=0)


@each_path
def test_rates_against_finite_differences(path, x64):
    t, h = jnp.linspace(0.05, 0.95, 7), 1e-6
    for f, rate in zip((path.alpha, path.sigma), paths.derivatives(path, t), strict=True):
        np.testing.assert_allclose(rate, (f(t + h) - f(t - h)) / (2 * h), rtol=1e-6, atol=1e-8)


@each_path
def test_log_snr_rises_towards_the_data(path):
    ratio = paths.log_snr(path, jnp.linspace(path.t_noise, path.t_data, 50))
    assert bool((jnp.diff(ratio) > 0).all())


@each_path
def test_every_view_by_hand(path, x64):
    x, noise = _pair()
    t = np.array([0.2, 0.5, 0.7])
    h = 1e-6
    a, s = (np.asarray(f(t)).reshape(-1, 1, 1, 1) for f in (path.alpha, path.sigma))
    x_t = a * x + s * noise
    ahead, behind = (
        np.asarray(path.alpha(u)).reshape(-1, 1, 1, 1) * x + np.asarray(path.sigma(u)).reshape(-1, 1, 1, 1) * noise
        for u in (t + h, t - h)
    )
    want = {
        "x0": x,
        "noise": noise,
        "v": a * noise - s * x,
        "score": -(x_t - a * x) / s**2,
        "velocity": (ahead - behind) / (2 * h),
    }
    assert set(want) == set(paths.PREDICTIONS)
    np.testing.assert_allclose(paths.perturb(path, x, noise, jnp.asarray(t)), x_t, rtol=1e-12)
    for name, value in want.items():
        np.testing.assert_allclose(paths.view(path, x, noise, jnp.asarray(t), name), value, rtol=1e-6, atol=1e-7)


@each_path
@pytest.mark.parametrize("t", [0.37, (0.05, 0.5, 0.95)], ids=["scalar time", "a time an example"])
def test_all_25_conversions(path, t, x64):
    x, noise = _pair()
    t = jnp.asarray(t)
    x_t = paths.perturb(path, x, noise, t)
    views = {name: paths.view(path, x, noise, t, name) for name in paths.PREDICTIONS}
    for source in paths.PREDICTIONS:
        for target in paths.PREDICTIONS:
            there = paths.convert(path, x_t, t, views[source], source, target)
            np.testing.assert_allclose(there, views[target], rtol=1e-8, atol=1e-8, err_msg=f"{source} to {target}")
            back = paths.convert(path, x_t, t, there, target, source)
            np.testing.assert_allclose(back, views[source], rtol=1e-8, atol=1e-8, err_msg=f"{source} to {target}, back")


@each_path
@pytest.mark.parametrize("source", ["v", "velocity"])
def test_x0_is_exact_at_both_ends(path, source):
    x, noise = (a.astype(jnp.float32) for a in _pair((2, 3)))
    for t in (path.t_noise, path.t_data):
        x_t = paths.perturb(path, x, noise, t)
        x0 = paths.convert(path, x_t, t, paths.view(path, x, noise, t, source), source, "x0")
        np.testing.assert_allclose(x0, x, atol=5e-5)


def test_variance_preserving_limits_at_the_data_end():
    path = paths.variance_preserving()
    x_t, score = jnp.full((1, 2), 1.5), jnp.full((1, 2), -0.5)
    velocity = paths.convert(path, x_t, 0.0, score, "score", "velocity")
    np.testing.assert_allclose(velocity, -0.05 * (x_t + score), rtol=1e-3)  # -beta(0) / 2 (x + score)
    np.testing.assert_allclose(paths.convert(path, x_t, 0.0, 7 * x_t, "velocity", "x0"), x_t, rtol=1e-4)
    np.testing.assert_allclose(paths.squared_diffusion(path, 0.0), 0.1, rtol=1e-3)


@pytest.mark.parametrize("name", ["trigonometric", "variance preserving"])
def test_velocity_is_v_times_the_angular_speed(name, x64):
    path, t = PATHS[name], 0.3
    x, noise = _pair()
    angular_speed = paths.derivatives(path, t)[1] / path.alpha(t)
    v, velocity = (paths.view(path, x, noise, t, kind) for kind in ("v", "velocity"))
    np.testing.assert_allclose(velocity, angular_speed * v, rtol=1e-10)


def test_drift_and_diffusion_of_the_diffusions(x64):
    t = jnp.array([0.0, 0.3, 1.0])
    beta = 0.1 + 19.9 * t
    path = paths.variance_preserving()
    np.testing.assert_allclose(paths.drift(path, t), -beta / 2, rtol=1e-10)
    np.testing.assert_allclose(paths.squared_diffusion(path, t), beta, rtol=3e-4)
    path = paths.variance_exploding()
    np.testing.assert_allclose(paths.drift(path, t), 0)
    np.testing.assert_allclose(paths.squared_diffusion(path, t), path.sigma(t) ** 2 * 2 * np.log(5000), rtol=1e-10)


@each_path
def test_marginal_variance_obeys_the_sde(path, x64):
    """d var / d(time towards noise) = 2 f var + g^2 for any variance of the data."""
    t, h, data_variance = jnp.array([0.2, 0.6]), 1e-6, 3.0
    towards = np.sign(path.t_noise - path.t_data)

    def variance(t):
        return path.alpha(t) ** 2 * data_variance + path.sigma(t) ** 2

    rate = (variance(t + h) - variance(t - h)) / (2 * h) * towards
    want = 2 * paths.drift(path, t) * towards * variance(t) + paths.squared_diffusion(path, t)
    np.testing.assert_allclose(rate, want, rtol=1e-5, atol=1e-6)


def test_infinite_coefficients_are_never_nan():
    for path in PATHS.values():
        for t in (path.t_noise, path.t_data):
            for f in (paths.drift, paths.squared_diffusion, paths.log_snr):
                assert not bool(jnp.isnan(f(path, t))), (f.__name__, t)


def test_bfloat16_times_are_computed_in_float32():
    path = paths.variance_preserving()
    t = jnp.array([0.5], jnp.bfloat16)
    assert paths.perturb(path, jnp.ones((1, 2)), jnp.zeros((1, 2)), t).dtype == jnp.float32
    assert paths.log_snr(path, t).dtype == jnp.float32
    assert paths.log_snr(path, 1).dtype == jnp.float32


@pytest.mark.parametrize(("source", "target"), [("eps", "x0"), ("x0", "eps"), ("eps", "eps"), ("x_t", "x0")])
def test_unknown_names_are_refused(source, target):
    x = jnp.ones((1, 2))
    with pytest.raises(ValueError, match="choose from x0, noise, v, score, velocity"):
        paths.convert(paths.rectified(), x, 0.5, x, source, target)
