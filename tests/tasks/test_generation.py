"""Sets of samples compared with real images: what classes they are of."""

import json
import types

import numpy as np
import pytest

from jaxgen.app.cli import main
from jaxgen.tasks import generation


class Brightness:
    """A feature extractor of one feature, that tells dark images (class 0) from bright ones (class 1)."""

    def __call__(self, x):
        return x.reshape(len(x), -1)[:, :1]

    def classes(self, x):
        return (self(x)[:, 0] > 0).astype(int)


def comparison(draw):
    held_out = np.linspace(-0.9, 0.9, 8, dtype=np.float32).reshape(8, 1, 1, 1) * np.ones((1, 4, 4, 1), np.float32)
    extract = Brightness()
    real = types.SimpleNamespace(
        extract=extract,
        train=held_out,
        train_features=extract(held_out),
        held_out=held_out,
        label=np.repeat([0, 1], 4),
        count=len(held_out),
    )
    return generation.Comparison(None, draw, gaussian=False, real=real)


def test_accuracy_and_diversity_of_classes():
    asked = np.array([0, 1] * 4)
    same = np.where(asked, 0.5, -0.5)[:, None, None, None] * np.ones((1, 4, 4, 1))
    found = comparison(lambda n: {"same": same, "swapped": -same}).of_classes(asked)
    assert found["same"] == {"accuracy": 1.0, "diversity": 0.0}
    assert found["swapped"]["accuracy"] == 0
    assert found["held-out images"]["accuracy"] == 1
    assert found["held-out images"]["diversity"] > 0


@pytest.mark.thorough
def test_a_method_shows_samples_while_it_trains(tmp_path):
    """Of its own stages alone: the feature extractor, which comes first, draws nothing."""
    words = ["--preset", "smoke", "--evaluate-every", "3", "--workdir", str(tmp_path / "run"), "--quiet"]
    assert main(["run", "ddpm", *words]) == 0
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    shown = {(row["stage"], row["step"]): row["evaluation/frechet"] for row in log if "evaluation/frechet" in row}
    assert list(shown) == [("ddpm", 3), ("ddpm", 6)]
    assert np.isfinite(list(shown.values())).all()
    assert len(list((tmp_path / "run" / "progress").glob("ddpm-*.png"))) == 2
