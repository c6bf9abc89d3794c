"""Synthesis for a classifier: what is known of real images, what a generator is told, and wrong data."""

import dataclasses

import numpy as np
import pytest

from jaxgen import experiment as experiments
from jaxgen.app.cli import main
from jaxgen.data import ArraySource, Splits
from jaxgen.errors import UserError
from jaxgen.experiment import Run
from jaxgen.medical.synthesis import cells, fair
from jaxgen.tasks import synthesis
from jaxgen.tasks.synthesis import generator

RARE = experiments.find("rare_cases")


def npz(path, n=40, **more):
    image = np.random.default_rng(0).integers(0, 255, (n, 16, 16), np.uint8)
    np.savez(path, images=image, **more)
    return str(path)


def config(name="fair_sampling", **changes):
    return dataclasses.replace(experiments.find(name).presets["smoke"], **changes)


def run_of(labels, group, **changes):
    """A run on a table of labels and hospitals, whose images are as bright as their number."""
    n = len(labels)
    image = np.zeros((n, 16, 16, 1), np.float32) + np.arange(n)[:, None, None, None] / n
    image[:, 0, 0] = np.array([[0.0], [1.0]])[np.arange(n) % 2]
    arrays = {"image": image, "label": np.array(labels), "covariates": np.array(group, np.float32)[:, None]}
    source = ArraySource(arrays)
    splits = Splits(source, source, source, label_names=("no", "yes"), covariate_names=("hospital",))
    of = config(data="x", attribute="hospital", labelled=0, mirror=False, **changes)
    return Run(of, synthesis.measure(of, splits), {}, splits)


def test_a_generator_is_told_the_findings_and_the_group():
    run = run_of([0, 1, 1, 0], [3, 5, 3, 5])
    assert run.facts.groups == ("3", "5")
    one = synthesis.known(run, run.splits.train)
    np.testing.assert_array_equal(
        synthesis.told(run, one.findings, one.group), [[1, 0, 1, 0], [0, 1, 0, 1], [0, 1, 1, 0], [1, 0, 0, 1]]
    )


def test_the_findings_of_images_without_labels_are_hidden_and_the_labelled_ones_are_a_half():
    run = run_of([0, 1] * 10, [0, 0, 1, 1] * 5)
    run = run._replace(config=dataclasses.replace(run.config, labelled=4))
    chosen = synthesis.labelled(run)
    source = generator.with_pool(run)
    told, n = source.arrays["told"], len(source)
    assert n == 2 * 16
    hidden = told[:, :2].sum(1) == 0
    np.testing.assert_array_equal(hidden, np.arange(n) >= 16)
    assert (told[:, 2:].sum(1) == 1).all()
    few = synthesis.known(run, run.splits.train, np.uint8).image[chosen]
    assert {x.tobytes() for x in source.arrays["image"][:16]} == {x.tobytes() for x in few}


def test_images_are_drawn_for_a_batch_as_often_as_the_plan_says():
    run = run_of([0] * 12 + [1] * 8, [0] * 10 + [1] * 2 + [0] * 2 + [1] * 6)
    one = synthesis.known(run, run.splits.train)
    _, _, counts = cells(one.findings, one.group)
    weight = synthesis.labelled_as(one, fair(counts)).weight
    label = one.findings[:, 1]
    for value, share in ((0, 0.6), (1, 0.4)):
        for group in (0, 1):
            assert weight[(label == value) & (one.group == group)].sum() == pytest.approx(share / 2)


def test_groups_that_training_data_lack_come_after_those_that_they_have():
    run = run_of([0, 1, 0, 1], [1, 1, 2, 2])
    new = ArraySource({**run.splits.test.arrays, "covariates": np.array([[1], [7], [2], [0]], np.float32)})
    assert synthesis.known(run, new).group.tolist() == [0, 3, 1, 2]


def test_a_class_with_one_labelled_image_is_refused():
    run = run_of([0, 0, 0, 0, 1], [0, 1, 0, 1, 0])
    with pytest.raises(UserError, match="class yes has 1 labelled training image; 2 are the least"):
        synthesis.labelled(run)


@pytest.mark.parametrize(
    ("more", "flags", "message"),
    [
        ({}, [], "has no classes"),
        ({"labels": [0, 1] * 20}, ["--attribute", "sex"], "no such covariate (there are: none)"),
        (
            {"labels": [0, 1] * 50, "covariates": np.arange(100.0)[:, None], "covariate_names": ["age"]},
            ["--attribute", "age"],
            "at most 32 make groups",
        ),
        (
            {"labels": [0, 1] * 20, "covariates": np.full((40, 1), np.nan), "covariate_names": ["age"]},
            ["--attribute", "age"],
            "covariate",
        ),
    ],
)
def test_data_that_do_not_do_are_refused_in_one_line(tmp_path, capsys, more, flags, message):
    data = npz(
        tmp_path / "data.npz",
        len(more.get("labels", [0] * 40)),
        **{name: np.asarray(value) for name, value in more.items()},
    )
    command = ["run", "fair_sampling", "--preset", "smoke", "--data", data, "--workdir", str(tmp_path / "run"), *flags]
    assert main([*command, *([] if flags else ["--attribute", ""])]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in said
