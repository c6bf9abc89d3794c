"""The anomaly task: data of phantoms, images and patients, what is compared, and what `jaxgen apply` gives."""

import dataclasses
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import ndimage

from jaxgen.data import ArraySource
from jaxgen.data.image import Image
from jaxgen.data.phantoms import LESIONS, labelled_slices
from jaxgen.data.source import patients_of
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Run
from jaxgen.figures.anomaly import Gallery
from jaxgen.losses.times import times_up_to
from jaxgen.medical import anomaly
from jaxgen.medical.anomaly import simple_methods
from jaxgen.medical.anomaly.tuning import tune
from jaxgen.tasks import diffusion
from jaxgen.tasks.anomaly import AnomalyConfig, Method, by_map, by_residual, data, evaluation, labelled, sizes
from jaxgen.tasks.anomaly.application import applied
from jaxgen.tasks.anomaly.restoration import RestorationConfig
from jaxgen.tasks.images import ImageFacts

SMOKE = AnomalyConfig(size=16, channels=(8,), phantoms=40, lesions=4, chosen_on=4, reference_steps=0)
GREY = ImageFacts(value_range=((0.0,), (1.0,)), image_channels=1)


def changed(**changes):
    return dataclasses.replace(SMOKE, **changes)


def bench_of(config):
    return evaluation.make_bench(Run(config, GREY, splits=data.load(config)))


def test_patients_with_masks_are_held_out_whole(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(3):
        lesion = np.zeros((12, 10, 40), np.uint8)
        lesion[4:6, 4:6, number : number + 10] = 1
        volume = rng.integers(40 * number + 1, 40 * number + 40, (2, 12, 10, 40)).astype(np.uint8)
        np.savez(tmp_path / f"p{number}.npz", volume=volume, lesion=lesion, channels=np.array(["T1", "FLAIR"]))
    config = changed(data=str(tmp_path), test_patients=("p1",))
    splits = data.load(config)
    assert len(splits.test) == 40
    assert splits.test.arrays["mask"].any((1, 2)).sum() == 10
    assert 40 < splits.test.arrays["image"].min() <= splits.test.arrays["image"].max() < 80
    healthy = np.concatenate([splits.train.arrays["image"], splits.validation.arrays["image"]])
    assert len(healthy) == 60
    assert not ((healthy > 40) & (healthy < 80)).any(), "nothing of the patient held out"
    bench = evaluation.make_bench(Run(config, data.measure(config, splits), splits=splits))
    x, mask = bench.lesions["lesions"]
    assert x.shape == (40, 16, 16, 1)
    assert mask.any((1, 2)).sum() == 10
    assert (np.diff(mask.sum((1, 2), dtype=np.int64)) <= 0).all()  # the first are shown
    by_number = (data.load(dataclasses.replace(config, test_patients=number)) for number in (("1",), 1))
    for other in by_number:  # 1 is how runs of before say it
        np.testing.assert_array_equal(other.test.arrays["image"], splits.test.arrays["image"])
    for change, message in (
        ({"test_patients": ("3",)}, "--test-patients 3: .* has p0, p1, p2, or 0 to 2"),
        ({"test_patients": ("p0", "p1", "2")}, "nobody of .* is left to train on"),
        ({"contrast": "PD"}, "--contrast PD"),
        ({"contrast": "FLAIR,PD"}, "--contrast PD"),
    ):
        with pytest.raises(UserError, match=message):
            data.load(dataclasses.replace(config, **change))
    two = data.load(dataclasses.replace(config, contrast="FLAIR,T1", test_patients=("p0", "p2")))
    assert two.test[0]["image"].shape == (12, 10, 2)
    assert len(two.test) == 80
    volume = np.load(tmp_path / "p0.npz")["volume"]
    for channel, contrast in enumerate((1, 0)):
        np.testing.assert_array_equal(two.test[3]["image"][..., channel], volume[contrast, :, :, 3])
    for ill, expected in ((36, (7, 1)), (30, (18, 2)), (12, (49, 7)), (37, None)):  # of 40 slices of two patients
        for number in range(3):
            lesion[:], lesion[..., :ill] = 0, 1
            np.savez(tmp_path / f"p{number}.npz", volume=volume, lesion=lesion, channels=np.array(["T1", "FLAIR"]))
        if expected is None:
            with pytest.raises(UserError, match="6 slices without a lesion are too few"):
                data.load(config)
        else:
            splits = data.load(config)
            assert (len(splits.train), len(splits.validation)) == expected


def test_half_of_the_labelled_phantoms_have_a_lesion_and_all_are_other_subjects():
    drawn = labelled_slices(4 * SMOKE.seed, 24, SMOKE.size, labelled.KINDS)
    assert drawn["label"].tolist() == 12 * [0] + 12 * [1]
    healthy = data.phantoms(SMOKE, 24, 0)["image"]
    same = (drawn["image"] == healthy).all((1, 2, 3))
    assert same[:12].all()
    assert not same[12:].any()


def test_training_times_to_a_power_have_most_of_the_low_noise():
    path = diffusion.make_path(RestorationConfig())
    times = times_up_to(0.4, 3.0)(path, jax.random.key(0), 20_000)
    share = (times - path.t_data) / (path.t_noise - path.t_data)
    np.testing.assert_allclose(np.quantile(share, [0.25, 0.5, 0.75]), 0.4 * np.array([0.25, 0.5, 0.75]) ** 3, rtol=0.06)


def test_a_map_comes_back_in_the_place_of_the_image():
    image = np.zeros((30, 50, 1), np.float32)
    image[:] = 0.5
    image[10, 40] = 1.0
    config = changed(size=64, median=1)
    method = Method("bright", lambda key, x: anomaly.Found(np.where(x[..., 0] > 0.2, 1.0, 0.0), x))
    found = applied(Run(config, GREY), method)(jax.random.key(0), Image(image, None, {}))
    assert found["anomaly"].shape == (30, 50)
    assert np.unravel_index(found["anomaly"].argmax(), (30, 50)) == (10, 40)
    assert abs(found["restored"] - image[..., 0])[15:27, :35].max() < 1e-5
    with pytest.raises(UserError, match="it has 1 channels, and the run was trained on 3"):
        applied(Run(config, dataclasses.replace(GREY, image_channels=3)), method)(None, Image(image, None, {}))


def test_scores_of_images_and_of_twins_by_hand():
    score = np.zeros((2, 20, 20))
    score[1, 0, :4] = (1, 2, 3, 6)
    assert anomaly.image_score(score).tolist() == [0.0, 3.0]
    twin, mask = np.zeros((1, 4, 4, 1)), np.zeros((1, 4, 4))
    mask[0, 0] = 1
    assert anomaly.twin_psnr(twin + 0.2 * mask[..., None], twin, mask) == pytest.approx(20.0)


@pytest.mark.parametrize(("residual", "found"), [("absolute", (1, 1)), ("brighter", (1, 0)), ("darker", (0, 1))])
def test_what_counts_as_an_anomaly(residual, found):
    """By what is restored, by the simple methods, and by brightness itself."""
    train = np.random.default_rng(0).uniform(-0.2, 0.2, (40, 8, 8, 1))
    x = np.zeros((1, 8, 8, 1))
    x[:, 2, 2], x[:, 6, 6] = 0.8, -0.8
    restored = Method("restored", by_residual(residual, lambda key, x: np.zeros_like(x)))
    for method in (*simple_methods(train, residual), restored):
        score = method.run(None, x).score[0]
        high = (score[2, 2] > score[4, 4] + 0.1, score[6, 6] > score[4, 4] + 0.1)
        assert high == ((1, 0) if method.name == "intensity" and residual == "absolute" else found), method.name


def test_channels_that_do_not_count_leave_no_trace_in_a_map():
    train = np.random.default_rng(0).uniform(-0.2, 0.2, (40, 8, 8, 3))
    x = np.zeros((1, 8, 8, 3))
    x[:, 2, 2, 0], x[:, 6, 6, 2] = 0.9, 0.9
    restore = by_residual("absolute", lambda key, x: 0 * x, (0,))
    for method in (*simple_methods(train, channels=(0,)), Method("restored", restore)):
        score = method.run(None, x).score[0]
        assert score[2, 2] > score[6, 6] + 0.1, method.name
        assert score[6, 6] < score[4, 4] + 0.05, method.name
    assert restore(None, x).score[0, 2, 2] == 0.9
    assert by_residual("absolute", lambda key, x: 0 * x)(None, x).score[0, 2, 2] == pytest.approx(0.3)
    names = [method.name for method in simple_methods(train, channels=(0, 2))]
    assert names[:3] == ["intensity", "intensity, channel 0", "intensity, channel 2"]
    third = simple_methods(train, "darker", channels=(0, 2))[2].run(None, x).score[0]
    assert third[6, 6] < third[2, 2] == third[4, 4]


def test_data_of_several_channels_and_patients_by_name(tmp_path):
    """A channel that is not there is refused before anything is trained; figures show the channel that counts."""
    rng, patient = np.random.default_rng(0), np.repeat(["07", "19", "26", "33"], 12)
    images, masks = rng.integers(1, 255, (48, 16, 16, 3)).astype(np.uint8), np.zeros((48, 16, 16), np.uint8)
    masks[::2, 4:8, 4:8] = 1
    np.savez(tmp_path / "ms.npz", images=images, masks=masks, patient=patient)
    for name in ("07", "26"):
        config = changed(data=str(tmp_path / "ms.npz"), test_patients=(name,), score_channels=(2,))
        splits = data.load(config)
        assert set(patients_of(splits.test)) == {name}
        assert len(splits.test) == 12
        assert len(splits.train) + len(splits.validation) == 18, "the healthy ones of the others"
        assert name not in {*patients_of(splits.train), *patients_of(splits.validation)}
    run = Run(config, data.measure(config, splits), splits=splits, key=jax.random.key(0))
    compared = evaluation.Comparison(run, [Method("halved", by_residual("absolute", lambda key, x: x / 2, (2,)))])
    assert "intensity, channel 2" not in compared.methods
    with pytest.raises(UserError, match="--score-channels 3: the last channel of the images is 2"):
        data.measure(dataclasses.replace(config, score_channels=(0, 3)), splits)
    with pytest.raises(UserError, match="--score-channels 1: the last channel of the images is 0"):
        data.measure(changed(score_channels=(1,)), data.load(SMOKE))


def test_the_page_on_data_makes_an_npz_of_patients(tmp_path, monkeypatch):
    (tmp_path / "patients").mkdir()
    rng = np.random.default_rng(0)
    for name in ("07", "19", "26"):
        volume, lesion = rng.integers(1, 255, (4, 12, 10, 30)).astype(np.uint8), np.zeros((12, 10, 30), np.uint8)
        volume[..., :5], lesion[4:6, 4:6, 8:12] = 0, 1
        names = np.array(["T1", "T1POST", "T2", "FLAIR"])
        np.savez(tmp_path / "patients" / f"{name}.npz", volume=volume, lesion=lesion, channels=names)
    page = (Path(__file__).parents[2] / "docs" / "DATA.md").read_text(encoding="utf-8")
    (code,) = (part for part in re.findall(r"```\n(.*?)```", page, re.S) if "contrasts.npz" in part)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "DATA.md", "exec"), {})
    folder = changed(data=str(tmp_path / "patients"), contrast="FLAIR,T1,T2", test_patients=("19",))
    file = changed(data=str(tmp_path / "contrasts.npz"), test_patients=("19",))
    one, two = (data.load(config).test for config in (folder, file))
    assert len(one) == len(two) == 25, "slices without brain are left out"
    for i in range(len(one)):
        for entry in ("image", "mask"):
            np.testing.assert_array_equal(one[i][entry], two[i][entry])


def test_pictures_are_of_the_channel_that_counts():
    x, score = np.zeros((2, 4, 4, 3)), np.ones((2, 4, 4))
    x[..., 2] = 1
    for channel, shape in ((None, (4, 4, 3)), (2, (4, 4, 1))):
        gallery = Gallery({"lesions": (x, score)}, channel=channel)
        gallery.add("found", score, x)
        (drawn, *_) = (one for one in gallery.figures()["restored"].figure.axes[0].get_images())
        assert drawn.get_array().shape[:2] == shape[:2]
        assert (drawn.get_array().ndim == 3) == (channel is None)
        assert np.asarray(drawn.get_array()).max() == 1


def test_each_channel_of_what_is_restored_comes_back():
    raw = np.random.default_rng(0).uniform(0, [1.0, 10.0, 5.0], (16, 16, 3)).astype(np.float32)
    facts = ImageFacts(value_range=((0.0, 0.0, 0.0), (1.0, 10.0, 5.0)), image_channels=3)
    method = Method("itself", by_residual("absolute", lambda key, x: x, (1,)))
    found = applied(Run(changed(data="own"), facts), method)(jax.random.key(0), Image(raw, None, {}))
    assert set(found) == {"anomaly", "restored-0", "restored-1", "restored-2"}
    for channel in range(3):
        np.testing.assert_allclose(found[f"restored-{channel}"], raw[..., channel], atol=1e-4)


def test_the_maps_that_are_evaluated_are_clean():
    config = changed(size=32, erosion=1)
    x = data.phantoms(config, 3, 0)["image"]
    score, restored = anomaly.find(
        evaluation.cleaning(config), None, Method("bright", by_map(anomaly.intensity, lowest=-1.0)), x
    )
    assert restored is None
    inside = anomaly.erode(anomaly.foreground(x, anomaly.FLOOR))
    assert (score[~inside] == 0).all()
    assert (score[inside] > 0).mean() > 0.9


def test_the_study_of_sizes_finds_the_scale_that_suits_each():
    """Morphological openings in the place of networks: a wide one is needed to take a large bright lesion away."""
    config = sizes.SizesConfig(**vars(changed(size=64)), radii=(2.0, 8.0), radius_images=6)

    def opening(name, width):
        run = by_residual("absolute", lambda key, x, level: ndimage.grey_opening(x, (1, width, width, 1)))
        return Method(f"{name} diffusion", run, (0.2,), name)

    run, methods = Run(config, GREY, splits=data.load(config)), (opening("white", 5), opening("coarse4", 21))
    healthy = evaluation.make_bench(run).validation
    metrics, figures = sizes.by_size(run, methods, healthy)
    assert metrics["radius white"]["ap_r8"] < metrics["radius coarse4"]["ap_r8"]
    assert metrics["best_wavelength_r8"] == 16.0
    assert metrics["size_correlation"] == pytest.approx(1.0)
    assert "radius" in figures["sizes"].caption
    without = run._replace(config=dataclasses.replace(config, radius_images=0))
    assert sizes.by_size(without, methods, healthy) == ({}, {})


@pytest.mark.parametrize("residual", ["absolute", "brighter", "darker"])
@pytest.mark.parametrize("erosion", [0, 1])
def test_the_map_of_an_image_is_the_same_in_any_set_and_in_apply(residual, erosion):
    """Every baseline and a restoring method; a map on a fixed threshold says the same of an image wherever it is."""
    config = changed(residual=residual, erosion=erosion, data="own")
    rng = np.random.default_rng(1)
    train, raw = rng.uniform(-1, 1, (40, 16, 16, 1)).astype(np.float32), rng.integers(13, 180, (16, 16, 1), np.uint8)
    run = Run(config, ImageFacts(value_range=((3.0,), (253.0,)), image_channels=1))
    x = ((raw - 3) / 125 - 1).astype(np.float32)[None]
    together = np.concatenate([x, np.full_like(x, 1.0), np.full_like(x, -1.0), 0 * x])
    restored = Method("restored", by_residual(residual, lambda key, x: 0.5 * x))
    for method in (*simple_methods(train, residual), restored):
        one, two = (
            anomaly.find(evaluation.cleaning(config), None, method, images).score[0] for images in (x, together)
        )
        np.testing.assert_array_equal(one, two, err_msg=method.name)
        assert (one >= 0).all(), method.name
        assert (one > 0).any(), method.name
        found = applied(run, method)(jax.random.key(0), Image(raw, None, {}))
        np.testing.assert_allclose(found["anomaly"], one, atol=1e-5, err_msg=method.name)


def test_what_apply_sees_is_what_an_evaluation_sees():
    """Values out of the range are cut off, a channel of one value is 0, and padding is that of the raw type."""
    raw = np.random.default_rng(0).integers(0, 255, (12, 20, 2), np.uint8)
    raw[..., 1] = 7
    run = Run(changed(data="own"), ImageFacts(value_range=((30.6, 7.0), (200.0, 7.0)), image_channels=2))
    seen = []

    def look(key, x):
        seen.append(x)
        return anomaly.Found(x.mean(-1), x)

    applied(run, Method("look", look))(jax.random.key(0), Image(raw, None, {}))
    source = ArraySource({"image": raw[None]})
    np.testing.assert_array_equal(seen[0], data.prepared(run, source)["image"])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("residual", ["absolute", "brighter", "darker"])
def test_a_method_that_diverged_has_no_numbers_and_is_named(bad, residual):
    config = changed(residual=residual, lesions=3)
    bench = bench_of(config)

    def restore(key, x, setting=0):
        restored = 0 * x
        restored[-1, 5:12, 5:12] = bad if setting < 2 else 0  # in the last image of a set alone
        return restored

    simple = simple_methods(bench.train, residual)
    diverged = Method("diverged", by_residual(residual, restore))
    methods, names = {method.name: method for method in (*simple, diverged)}, [method.name for method in simple]
    metrics = anomaly.compare(evaluation.cleaning(config), None, bench, methods, names)
    row = metrics["diverged"]
    measured = [value for key, value in row.items() if key != "diverged"]
    assert not np.isfinite(measured).any(), row
    assert row["diverged"] == pytest.approx(1 / 3)
    assert "diverged" not in metrics["pca-32"]
    assert all(np.isfinite(value) for value in metrics["pca-32"].values())
    assert "nan" in evaluation.headline(metrics, "diverged", names)
    found = tune(evaluation.cleaning(config), None, diverged._replace(settings=(1, 2, 3)), *bench.chosen_on)
    assert found.setting == 2, "NaN is never the best"


def test_a_comparison_chooses_settings_and_says_so():
    """What restores an image by half finds more than what does not touch it."""
    config = changed(residual="brighter")
    run = Run(config, GREY, splits=data.load(config), key=jax.random.key(0))
    method = Method("halved", by_residual("brighter", lambda key, x, share: (1 - share) * x), (0.0, 0.5), "half")
    compared = evaluation.Comparison(run, [method], tuned_on=3)
    assert compared.tuned["halved"].setting == 0.5
    assert list(compared.methods) == ["intensity", "z-scores", "pca-32", "pca-128", "halved"]
    found = compared.evaluation("halved", metrics={"halved": {"more": 1.0}, "whole": 2})
    assert isinstance(found, Evaluation)
    assert found.chosen == {"half": 0.5}
    assert found.metrics["halved"]["more"] == 1.0
    assert found.metrics["whole"] == 2
    assert "gain_L1" in found.metrics["halved"]
    assert compared.separation(lambda x: x.mean((1, 2, 3))).keys() == {f"auroc_score_{kind}" for kind in LESIONS}


def test_baselines_are_fitted_to_the_images_that_the_facts_name_and_to_no_others(tmp_path):
    rng = np.random.default_rng(0)
    images, masks = rng.integers(0, 255, (40, 64, 64)).astype(np.uint8), np.zeros((40, 64, 64), np.uint8)
    masks[::2, 20:30, 20:30] = 1
    for name, count in (("home", 40), ("other", 30)):
        np.savez(tmp_path / f"{name}.npz", images=images[:count], masks=masks[:count])
    home, other = (changed(data=str(tmp_path / f"{name}.npz")) for name in ("home", "other"))
    splits = {config.data: data.load(config) for config in (home, other)}
    known = data.measure(home, splits[home.data])
    at_home = Run(home, known, splits=splits[home.data])
    assert len(evaluation.make_bench(at_home).train) == len(splits[home.data].train)
    for facts in (known, dataclasses.replace(known, home="")):
        bench = evaluation.make_bench(Run(other, facts, splits=splits[other.data]))
        assert len(bench.train) == 0
        with pytest.raises(UserError, match="jaxgen eval RUN --data OTHER"):
            simple_methods(bench.train)
