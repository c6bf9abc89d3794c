import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import guidance, paths
from jaxgen.samplers import ddim, grids, heun, sample
from tests.samplers import oracles

PATH = paths.cosine()
T = jnp.array(0.5)
# Two classes of the same weight that overlap, each a normal with independent coordinates.
CLASSES = [
    oracles.gaussian([-0.8, 0.3], np.diag([0.5, 0.3])),
    oracles.gaussian([0.8, -0.3], np.diag([0.3, 0.6])),
]
BOTH = oracles.mixture([0.5, 0.5], [[-0.8, 0.3], [0.8, -0.3]], [np.diag([0.5, 0.3]), np.diag([0.3, 0.6])])


def log_prob_of_class(path, k):
    """The exact classifier of noisy states."""

    def log_prob(x, t):
        a, s = path.alpha(t), path.sigma(t)
        spread = a**2 * BOTH.variances + s**2
        along = jnp.einsum("...kd,kde->...ke", x[..., None, :] - a * BOTH.means, BOTH.axes)
        return jax.nn.log_softmax(-0.5 * jnp.sum(along**2 / spread + jnp.log(spread), -1), -1)[..., k]

    return log_prob


def points(n=6, d=2, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(n, d)), jnp.float32)


def strong(x, t):
    return jnp.sin(x) + t


def weak(x, t):
    return 0.5 * x - t


def test_classifier_free_by_hand():
    x = points()
    want = weak(x, T) + 2.5 * (strong(x, T) - weak(x, T))
    np.testing.assert_allclose(guidance.classifier_free(strong, weak, 2.5)(x, T), want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(guidance.classifier_free(strong, weak, 0.0)(x, T), weak(x, T), atol=1e-6)
    np.testing.assert_array_equal(guidance.classifier_free(strong, weak, 1.0)(x, T), strong(x, T))
    assert guidance.autoguidance is guidance.classifier_free


def test_a_scale_an_example():
    x, scales = points(3), jnp.array([0.5, 1.0, 4.0])
    together = guidance.classifier_free(strong, weak, scales)(x, T)
    for i, scale in enumerate([0.5, 1.0, 4.0]):
        alone = guidance.classifier_free(strong, weak, scale)(x, T)[i]
        np.testing.assert_allclose(together[i], alone, rtol=1e-6)


@pytest.mark.parametrize("prediction", ["noise", "score", "v", "velocity"])
def test_guiding_any_prediction_is_guiding_x0(prediction):
    """``u + scale (c - u)`` of noise, say, is the noise of the guided x0."""
    x = points()

    def view(denoise):
        return paths.convert(PATH, x, T, denoise(x, T), "x0", prediction)

    want = view(weak) + 3 * (view(strong) - view(weak))
    np.testing.assert_allclose(view(guidance.classifier_free(strong, weak, 3.0)), want, rtol=1e-4, atol=1e-5)


def test_rescale_gives_the_spread_back():
    x = points(3, 40)
    plain, half, whole = (guidance.classifier_free(strong, weak, 5.0, rescale=part)(x, T) for part in (0.0, 0.7, 1.0))
    assert (plain.std(1) > 1.5 * strong(x, T).std(1)).all()
    np.testing.assert_allclose(whole.std(1), strong(x, T).std(1), rtol=1e-5)
    np.testing.assert_allclose(whole / plain, jnp.broadcast_to((whole / plain)[:, :1], plain.shape), rtol=1e-4)
    np.testing.assert_allclose(half, 0.7 * whole + 0.3 * plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("interval", [(0.3, 0.6), (0.6, 0.3)])
def test_interval(interval):
    called = []

    def counted(x, t):
        jax.debug.callback(lambda t: called.append(round(float(t), 3)), t)
        return weak(x, t)

    guided = jax.jit(guidance.classifier_free(strong, counted, 3.0, interval=interval))
    always, x = guidance.classifier_free(strong, weak, 3.0), points()
    for t in (0.1, 0.3, 0.5, 0.6, 0.8):
        want = (always if 0.3 <= t <= 0.6 else strong)(x, t)
        np.testing.assert_allclose(guided(x, jnp.float32(t)), want, rtol=1e-5, atol=1e-6)
    jax.effects_barrier()
    assert called == [0.3, 0.5, 0.6]  # outside, the other network costs nothing


def test_batched_is_the_same_in_one_call():
    traced = []

    def denoise(x, t, condition):
        traced.append(x.shape)
        return jnp.sin(x) + condition["label"][:, None] * t + condition["map"]

    x = points(4)
    condition = {"label": jnp.arange(4.0), "map": points(4, seed=1)}
    nothing = jax.tree.map(jnp.zeros_like, condition)
    options = {"rescale": 0.5, "interval": (0.2, 0.6)}
    batched = jax.jit(guidance.classifier_free_batched(denoise, condition, nothing, 3.0, **options))
    for t in (0.4, 0.5, 0.9):
        two = guidance.classifier_free(
            lambda x, t: denoise(x, t, condition), lambda x, t: denoise(x, t, nothing), 3.0, **options
        )
        traced.clear()
        ours = batched(x, jnp.float32(t))
        assert traced in ([(8, 2)], [])
        np.testing.assert_allclose(ours, two(x, jnp.float32(t)), rtol=1e-5, atol=1e-6)


def test_guidance_sharpens():
    """More guidance: samples surer of their class, and less varied. A scale of 1 is the law of the class."""
    n, scales = 1500, jnp.array([1.0, 2.0, 4.0])
    x = jnp.tile(jax.random.normal(jax.random.key(0), (n, 2)), (3, 1))

    @jax.jit
    def draw(x):
        guided = guidance.classifier_free(
            CLASSES[0].denoiser(PATH), BOTH.denoiser(PATH), jnp.repeat(scales, n, total_repeat_length=3 * n)
        )
        return sample(heun(PATH), guided, jax.random.key(0), x, grids.uniform(PATH, 24))

    parts = np.asarray(draw(x)).reshape(3, n, 2)
    assert oracles.misfit(parts[0], CLASSES[0].mean, CLASSES[0].covariance) < 4
    sure = [float(jnp.exp(log_prob_of_class(PATH, 0)(part, 0.0)).mean()) for part in parts]
    assert sure[0] + 0.02 < sure[1]
    assert sure[1] + 0.005 < sure[2]
    assert sure[2] > 0.98
    spread = [np.trace(np.cov(part.T)) for part in parts]
    assert spread[0] > 1.2 * spread[1]
    assert spread[1] > 1.2 * spread[2]


@pytest.mark.parametrize("path", [PATH, paths.rectified(), paths.edm(), paths.sub_variance_preserving()])
def test_classifier_guidance_with_the_exact_classifier_is_the_conditional_denoiser(path):
    with jax.enable_x64(True):
        x = 2 * jnp.asarray(np.random.default_rng(0).normal(size=(5, 2)))
        for k in (0, 1):
            guided = jax.jit(guidance.classifier(BOTH.denoiser(path), log_prob_of_class(path, k), path))
            for part in (0.02, 0.4, 0.9):
                t = jnp.asarray(path.t_data + part * (path.t_noise - path.t_data))
                np.testing.assert_allclose(guided(x, t), CLASSES[k].denoiser(path)(x, t), rtol=1e-7, atol=1e-7)


def test_classifier_guidance_in_coloured_noise_is_the_conditional_denoiser_given_its_covariance():
    """The closed forms of two normal laws in noise of covariance C: ``x0 = m + a S (a^2 S + s^2 C)^-1 (x - a m)``."""
    means = np.array([[-0.8, 0.3], [0.5, -0.6]])
    inside, noise = np.array([[0.5, 0.1], [0.1, 0.3]]), np.array([[1.0, 0.7], [0.7, 2.0]])
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(1).normal(size=(5, 2)))
        a, s = PATH.alpha(T), PATH.sigma(T)
        precision = jnp.linalg.inv(a**2 * inside + s**2 * noise)

        def of_class(x, k):
            return means[k] + a * (x - a * means[k]) @ precision @ inside

        def log_prob(x, t):
            off = x[:, None] - a * means
            return jax.nn.log_softmax(-0.5 * jnp.einsum("nkd,de,nke->nk", off, precision, off))

        def of_both(x, t):
            return sum(jnp.exp(log_prob(x, t))[:, k, None] * of_class(x, k) for k in (0, 1))

        guided = guidance.classifier(
            of_both, lambda x, t: log_prob(x, t)[:, 1], PATH, covariance=lambda v: v @ jnp.asarray(noise)
        )
        np.testing.assert_allclose(guided(x, T), of_class(x, 1), rtol=1e-7, atol=1e-7)


def test_classifier_guidance_is_that_of_the_noise_and_the_score():
    x, log_prob = points(), log_prob_of_class(PATH, 1)
    gradient = jax.grad(lambda x: log_prob(x, T).sum())(x)
    guided = guidance.classifier(strong, log_prob, PATH, 2.0)(x, T)
    for name, factor in (("noise", -PATH.sigma(T)), ("score", 1.0)):
        before, after = (paths.convert(PATH, x, T, x0, "x0", name) for x0 in (strong(x, T), guided))
        np.testing.assert_allclose(after, before + 2 * factor * gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("interval", [(0.2, 0.8), (0.8, 0.2)])
def test_classifier_guidance_between_two_times(interval):
    log_prob = log_prob_of_class(PATH, 0)
    plain, always = (guidance.classifier(strong, log_prob, PATH, scale) for scale in (0.0, 2.0))
    between = guidance.classifier(strong, log_prob, PATH, 2.0, interval=interval)
    x = jnp.array([[0.3, -0.2]])
    for t, expected in ((0.1, plain), (0.2, always), (0.5, always), (0.8, always), (0.9, plain)):
        np.testing.assert_allclose(between(x, jnp.float32(t)), expected(x, jnp.float32(t)), rtol=1e-5, atol=1e-6)
        assert jnp.abs(plain(x, t) - always(x, t)).max() > 0.01


def test_no_classifier_guidance_is_none_to_the_bit():
    x = points()
    for scale in (0.0, jnp.zeros(6)):
        guided = guidance.classifier(strong, log_prob_of_class(PATH, 0), PATH, scale)
        for t in (0.0, 0.5, 1.0):
            np.testing.assert_array_equal(guided(x, jnp.float32(t)), strong(x, t))


def test_classifier_guidance_draws_the_conditional_law_of_a_mixture():
    """Four components in two classes that interleave: the divergence of the guided samples from their class."""
    path, scale = paths.variance_preserving(), 0.45
    means, labels = np.array([-2.0, -0.6, 0.7, 2.1]), np.array([0, 1, 0, 1])

    def log_components(x, t):
        a, s = path.alpha(t), path.sigma(t)
        variance = (a * scale) ** 2 + s**2
        return -((x - a * means) ** 2) / (2 * variance), a, variance  # x [b, 1]

    def denoise(x, t):
        logs, a, variance = log_components(x, t)
        each = means + a * scale**2 / variance * (x - a * means)
        return (jax.nn.softmax(logs) * each).sum(-1, keepdims=True)

    def log_prob(x, t):
        logs = log_components(x, t)[0]
        return jax.nn.logsumexp(logs, 1, b=labels == 0) - jax.nn.logsumexp(logs, 1)

    n, edges = 3000, np.linspace(-3.5, 2.2, 30)

    @jax.jit
    def draw(x):
        guided = guidance.classifier(denoise, log_prob, path, jnp.asarray(x[:, 1]))
        return sample(heun(path), guided, jax.random.key(0), x[:, :1], grids.uniform(path, 40))

    # Quantiles in place of draws: what is left is the error of the guidance and of the sampler.
    noise = jax.scipy.stats.norm.ppf((jnp.arange(n) + 0.5) / n)
    x = jnp.stack([jnp.tile(noise, 2), jnp.repeat(jnp.array([1.0, 0.0]), n)], 1)

    def divergence(samples):
        counted = np.histogram(samples, np.concatenate([[-np.inf], edges, [np.inf]]))[0] / n
        masses = jax.scipy.stats.norm.cdf((np.concatenate([[-np.inf], edges, [np.inf]])[:, None] - means[::2]) / scale)
        want = np.diff(np.asarray(masses).mean(1))
        seen = counted > 0
        return float((counted[seen] * np.log(counted[seen] / want[seen])).sum())

    guided, unguided = np.asarray(draw(x))[:, 0].reshape(2, n)
    assert divergence(guided) < 0.02
    assert divergence(unguided) > 0.2


def test_where_nothing_is_left_of_the_data_the_classifier_does_not_guide():
    path = paths.rectified()
    guided = guidance.classifier(strong, log_prob_of_class(path, 0), path, 2.0)
    np.testing.assert_array_equal(guided(points(), jnp.array(0.0)), strong(points(), 0.0))


def test_a_reduced_log_prob_is_refused():
    guided = guidance.classifier(strong, lambda x, t: x.sum(), PATH, 2.0)
    with pytest.raises(ValueError, match="one value per example"):
        guided(points(), T)


def test_inpaint_puts_the_known_part_in():
    x, known = points(), 7 * jnp.ones((6, 2))
    mask = jnp.array([True, False])
    filled = guidance.inpaint(strong, known, mask)(x, T)
    np.testing.assert_array_equal(filled[:, 0], known[:, 0])
    np.testing.assert_array_equal(filled[:, 1], strong(x, T)[:, 1])
    soft = guidance.inpaint(strong, known, jnp.array([0.25, 0.0]))(x, T)
    np.testing.assert_allclose(soft[:, 0], 0.25 * 7 + 0.75 * strong(x, T)[:, 0], rtol=1e-5)


def test_guidance_inside_inpainting_inside_dpm_solver():
    """One coordinate known, the other of the asked class: by classifier-free guidance or by a classifier."""
    from jaxgen.samplers import dpm_solver_2m

    n, known = 2000, jnp.array([[0.25, 0.0]])
    x = jax.random.normal(jax.random.key(1), (n, 2))
    unknown = CLASSES[1].mean[1:], CLASSES[1].covariance[1:, 1:]

    @jax.jit
    def draw(x, scale):
        free = guidance.classifier_free(CLASSES[1].denoiser(PATH), BOTH.denoiser(PATH), scale)
        led = guidance.classifier(BOTH.denoiser(PATH), log_prob_of_class(PATH, 1), PATH, scale)
        return [
            sample(
                dpm_solver_2m(PATH),
                guidance.inpaint(guided, known, jnp.array([1.0, 0.0])),
                jax.random.key(0),
                x,
                grids.log_snr(PATH, 30),
            )
            for guided in (free, led)
        ]

    plain, more = draw(x, 1.0), draw(x, 3.0)
    for samples, guided in zip(plain, more, strict=True):
        np.testing.assert_allclose(samples[:, 0], 0.25, atol=1e-6)
        np.testing.assert_allclose(guided[:, 0], 0.25, atol=1e-6)
        # The coordinates of a class are independent: what is known of one says nothing of the other.
        assert oracles.misfit(np.asarray(samples)[:, 1:], *unknown) < 4
        assert float(guided[:, 1].mean()) < float(samples[:, 1].mean()) - 0.1


@pytest.mark.thorough
def test_types_and_batching():
    """The state's type is the network's affair; and guidance works under vmap."""
    x = points().astype(jnp.bfloat16)
    mask = jnp.array([1.0, 0.0])

    def stack(denoise):
        guided = guidance.classifier_free(denoise, weak, jnp.full(6, 2.0), rescale=0.5, interval=(0.0, 1.0))
        led = guidance.classifier(guided, lambda x, t: -(x**2).sum(-1), PATH, 0.5)
        return guidance.inpaint(led, jnp.ones((1, 2)), mask)

    def narrow(x, t):
        return jnp.sin(x)

    assert stack(narrow)(x, T).dtype == jnp.bfloat16
    wide = points()
    times = jnp.array([0.3, 0.7])
    mapped = jax.vmap(lambda t: stack(narrow)(wide, t))(times)
    for i in range(2):
        np.testing.assert_allclose(mapped[i], stack(narrow)(wide, times[i]), rtol=1e-5, atol=1e-6)
    end = sample(ddim(PATH), stack(narrow), jax.random.key(0), x, grids.uniform(PATH, 3))
    assert end.dtype == jnp.bfloat16
    assert bool(jnp.isfinite(end.astype(jnp.float32)).all())
