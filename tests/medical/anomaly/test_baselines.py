import numpy as np

from jaxgen.medical.anomaly import baselines, brighter_residual


def test_z_scores_of_the_training_images_have_their_own_deviation():
    train = np.random.default_rng(0).normal(2.0, 3.0, (500, 4, 4, 1))
    score = baselines.z_map(train, least_std=0.0)(train)
    np.testing.assert_allclose(np.square(score).mean(0), 1, rtol=1e-5)
    assert baselines.z_map(train)(train).mean() < score.mean()


def test_principal_residual_is_what_the_components_leave():
    rng = np.random.default_rng(1)
    train = (rng.normal(size=(80, 2)) @ rng.normal(size=(2, 16)) * 0.1).reshape(80, 4, 4, 1)
    detect = baselines.principal_residual(train, 2)
    np.testing.assert_allclose(detect(train), 0, atol=1e-6)
    ill = train[:5].copy()
    ill[:, 1, 2] += 0.3
    assert (detect(ill).reshape(5, -1).argmax(1) == 6).all()
    # More components than images are cut to what there is.
    np.testing.assert_allclose(baselines.principal_residual(train[:5], 99)(train[:5]), 0, atol=1e-6)


def test_baselines_of_what_is_bright_alone():
    train = np.random.default_rng(2).uniform(-0.5, 0.5, (60, 4, 4, 1))
    mean = train.mean(0, keepdims=True)
    change = np.zeros_like(mean)
    change[0, 0, 0], change[0, 3, 3] = 0.4, -0.4
    for make in (baselines.z_map, lambda train, **more: baselines.principal_residual(train, 2, **more)):
        both, bright = make(train)(mean + change)[0], make(train, residual=brighter_residual)(mean + change)[0]
        assert both[0, 0] > 0.1
        assert both[3, 3] > 0.1
        assert bright[0, 0] == both[0, 0]
        assert bright[3, 3] == 0
