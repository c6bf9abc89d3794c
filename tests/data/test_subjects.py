"""What of a subject and of its class images show."""

import numpy as np

from jaxgen.data.subjects import Subject


def test_diversity_and_drift_are_of_the_class_and_similarity_of_the_subject():
    rng = np.random.default_rng(0)
    learnt, varied = np.repeat(rng.uniform(-1, 1, (1, 32, 32, 1)), 4, 0), rng.uniform(-1, 1, (4, 32, 32, 1))
    subject = Subject(learnt, learnt[:0], learnt)
    seen = subject.scores(learnt, varied)
    lost = subject.scores(varied, learnt)
    assert seen["similarity"] > 0.99
    assert seen["drift"] < 0.3
    assert seen["diversity"] > 0.5
    assert lost["similarity"] == seen["drift"]
    assert lost["drift"] == seen["similarity"]
    assert abs(lost["diversity"]) < 1e-3
