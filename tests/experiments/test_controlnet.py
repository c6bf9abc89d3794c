"""ControlNet as an experiment: hints of the user on the command line."""

import json

import numpy as np
import PIL.Image
import pytest

from jaxgen.app.cli import main


@pytest.mark.slow
def test_hints_of_the_user_are_trained_on_and_drawn_from(tmp_path, capsys):
    rng = np.random.default_rng(0)
    images, hints = rng.integers(0, 255, (2, 40, 16, 16), np.uint8)
    texts = np.array(["a red disc" if i % 2 else "a bar" for i in range(40)])
    np.savez(tmp_path / "mine.npz", images=images, texts=texts, control=hints)
    run = str(tmp_path / "run")
    flags = ["--data", str(tmp_path / "mine.npz"), "--workdir", run, "--samples", "8", "--chunk", "8", "--quiet"]
    assert main(["run", "controlnet", "--preset", "smoke", *flags]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert "contour_iou" not in metrics["control"]
    assert np.isfinite(metrics["control"]["frechet"])

    for name, hint in {"one": hints[0], "two": hints[1], "wide": hints[0, :8]}.items():
        PIL.Image.fromarray(hint).save(tmp_path / f"{name}.png")
    given = [flag for name in ("one", "two") for flag in ("--control", str(tmp_path / f"{name}.png"))]
    assert main(["sample", run, "--n", "3", "--prompt", "a red disc", *given, "--out", str(tmp_path / "out")]) == 0
    with np.load(tmp_path / "out" / "samples.npz") as drawn:
        np.testing.assert_array_equal(drawn["control"][..., 0], hints[[0, 1, 0]])
        assert np.isfinite(drawn["images"]).all()
    capsys.readouterr()
    assert main(["sample", run, "--control", str(tmp_path / "wide.png"), "--out", str(tmp_path / "none")]) == 2
    said = capsys.readouterr().err.strip()
    assert "wide.png: 16 x 8 pixels" in said
    assert said.count("\n") == 0
    assert not (tmp_path / "none").exists()
