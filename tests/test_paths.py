import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths, schedules

PATHS = {
    "rectified": paths.rectified(),
    "rectified with sigma_min": paths.rectified(1e-2),
    "trigonometric": paths.trigonometric(),
    "variance preserving": paths.variance_preserving(),
    "variance exploding": paths.variance_exploding(),
    "cosine": paths.cosine(),
    "sub-variance preserving": paths.sub_variance_preserving(),
    "edm": paths.edm(),
    # The rates have a kink at every entry: 1009 keeps the times of these tests off them.
    "discrete": paths.discrete(schedules.linear_betas(1009)),
    "discrete without terminal signal": paths.discrete(
        schedules.zero_terminal_snr(schedules.scaled_linear_betas(1009))
    ),
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


@pytest.mark.parametrize("name", ["trigonometric", "variance preserving", "cosine", "discrete"])
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
    path = paths.sub_variance_preserving()
    kept = np.exp(-(0.1 * t + 19.9 * t**2 / 2))
    np.testing.assert_allclose(paths.drift(path, t), -beta / 2, rtol=1e-10)
    np.testing.assert_allclose(paths.squared_diffusion(path, t), beta * (1 - kept**2), rtol=1e-10, atol=1e-10)
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


def test_cosine_by_its_definition(x64):
    t = np.linspace(0, 1, 21)
    f = np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2
    path = paths.cosine()
    np.testing.assert_allclose(path.alpha(jnp.asarray(t)), np.sqrt(f / f[0]), atol=1e-15)
    np.testing.assert_allclose(path.sigma(jnp.asarray(t)), np.sqrt(1 - f / f[0]), atol=1e-12)
    assert (float(path.alpha(1.0)), float(path.sigma(0.0))) == (0, 0)


TABLES = {
    "linear": schedules.linear_betas(1000),
    "short": schedules.linear_betas(7, 0.1, 0.5),
    "scaled linear": schedules.scaled_linear_betas(1000),
    "cosine": schedules.cosine_betas(1000),
    "sigmoid": schedules.sigmoid_betas(300),
    "zero terminal": schedules.zero_terminal_snr(schedules.scaled_linear_betas(1000)),
    "cosine to the end": schedules.cosine_betas(50, max_beta=1.0),
}


@pytest.mark.parametrize("name", TABLES)
def test_discrete_is_its_table_at_the_entries(name):
    betas = TABLES[name]
    path, n = paths.discrete(betas), len(betas)
    kept = np.cumprod(1 - betas.astype(np.float64))
    t = (np.arange(n) + 1).astype(np.float32) / np.float32(n)
    np.testing.assert_allclose(jax.jit(path.alpha)(t), np.sqrt(kept), rtol=1e-6)
    np.testing.assert_allclose(jax.jit(path.sigma)(t), np.sqrt(1 - kept), rtol=1e-6)
    assert float(path.alpha(1.0)) == np.float32(np.sqrt(kept[-1])) or kept[-1] > 0
    assert (float(path.alpha(0.0)), float(path.sigma(0.0))) == (1, 0)
    np.testing.assert_allclose(paths.timestep(t, n), np.arange(n), atol=2e-4)


def test_discrete_between_the_entries(x64):
    betas = schedules.linear_betas(7, 0.1, 0.5)
    kept = np.cumprod(1 - betas.astype(np.float64))
    r = np.sqrt(1 / kept - 1)

    def ratio(path, t):
        return path.sigma(jnp.asarray(t)) / path.alpha(jnp.asarray(t))

    path = paths.discrete(betas)
    np.testing.assert_allclose(ratio(path, 3.25 / 7), np.exp(0.75 * np.log(r[2]) + 0.25 * np.log(r[3])), rtol=1e-12)
    np.testing.assert_allclose(ratio(path, 0.25 / 7), 0.25 * r[0], rtol=1e-12)
    betas[-1] = 1
    path = paths.discrete(betas)
    np.testing.assert_allclose(ratio(path, 6.25 / 7), r[5] / 0.75, rtol=1e-12)
    t = np.linspace(0, 1, 200)
    np.testing.assert_allclose(path.alpha(t) ** 2 + path.sigma(t) ** 2, 1, rtol=1e-12)
    assert (np.abs(np.diff(path.sigma(t))) < 0.15).all()  # no jump


def test_rates_of_discrete_at_its_last_entry_are_those_before_it(x64):
    path, h = PATHS["discrete"], 1e-8
    for f, rate in zip((path.alpha, path.sigma), paths.derivatives(path, 1.0), strict=True):
        np.testing.assert_allclose(rate, (f(1.0) - f(1 - h)) / h, rtol=1e-4)


@pytest.mark.parametrize("betas", [[0.1], [0.1, 0.0], [0.1, 1.5], [1.0, 0.1], [[0.1, 0.2]], [0.1, np.nan]])
def test_no_table_is_refused(betas):
    with pytest.raises(ValueError, match="betas must be"):
        paths.discrete(betas)


@each_path
def test_time_of_log_snr_is_the_inverse(path, x64):
    t = path.t_data + (path.t_noise - path.t_data) * jnp.array([[1e-4, 0.01, 0.3], [0.5, 0.9, 0.999]])
    found = jax.jit(lambda value: paths.time_of_log_snr(path, value))(paths.log_snr(path, t))
    assert found.shape == t.shape
    np.testing.assert_allclose(found, t, rtol=1e-9)


def test_time_of_log_snr_in_float32_and_out_of_reach():
    for path in (PATHS["rectified"], PATHS["variance preserving"], PATHS["discrete without terminal signal"]):
        t = path.t_data + (path.t_noise - path.t_data) * jnp.array([1e-4, 0.3, 0.9])
        found = paths.time_of_log_snr(path, jnp.append(paths.log_snr(path, t), jnp.array([-jnp.inf, jnp.inf, -99.0])))
        np.testing.assert_allclose(found[:3], t, rtol=1e-4, atol=1e-6)
        assert found[3:5].tolist() == [path.t_noise, path.t_data]
        np.testing.assert_allclose(found[5], path.t_noise, atol=1e-6)


def _gaussian_denoise(path):
    mean, variance = jnp.array([1.0, -0.5]), jnp.array([1.5, 0.2])

    def denoise(x, t):
        a, s = path.alpha(t), path.sigma(t)
        return mean + a * variance / (a**2 * variance + s**2) * (x - a * mean)

    return denoise


@each_path
@pytest.mark.parametrize("trained", ["variance preserving", "cosine"])
def test_an_exact_denoiser_is_exact_on_another_path(path, trained, x64):
    """The posterior mean does not depend on the path but through the state."""
    moved = jax.jit(paths.change_path(_gaussian_denoise(PATHS[trained]), PATHS[trained], path))
    exact = _gaussian_denoise(path)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 2)))
    for fraction in (0.0, 0.001, 0.2, 0.5, 0.8, 0.95):
        t = path.t_data + fraction * (path.t_noise - path.t_data)
        x_t = x * jnp.hypot(path.alpha(t), path.sigma(t))
        np.testing.assert_allclose(moved(x_t, t), exact(x_t, t), rtol=1e-6, atol=1e-6)
    # Beyond the reach of the trained path, its nearer end: close, and finite where alpha is 0.
    x_t = x * path.sigma(path.t_noise)
    np.testing.assert_allclose(moved(x_t, path.t_noise), exact(x_t, path.t_noise), atol=0.04)


def test_a_changed_path_takes_a_time_an_example_and_keeps_the_type():
    seen = []

    def denoise(x, t):
        seen.append((x.dtype, t.dtype, t.shape))
        return x

    moved = jax.jit(paths.change_path(denoise, PATHS["edm"], PATHS["rectified"]))
    t = jnp.array([0.25, 0.8])
    x0 = moved(jnp.ones((2, 3), jnp.bfloat16), t)
    assert seen == [(jnp.bfloat16, jnp.float32, (2,))]
    np.testing.assert_allclose(x0[:, 0], 1 / t, rtol=1e-2)  # alpha is 1 there: the state divided by alpha here
