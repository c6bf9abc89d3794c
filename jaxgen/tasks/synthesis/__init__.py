"""Synthetic images for a classifier: what is known of real images, the generator, classifiers with it and without."""

from jaxgen.tasks.synthesis.classifiers import Arm, chosen_share, compared, usual
from jaxgen.tasks.synthesis.generator import SAMPLE_FLAGS, STAGES, drawing, sample, with_pool
from jaxgen.tasks.synthesis.options import (
    FULL,
    SMALL,
    SMOKE,
    SynthesisConfig,
    SynthesisFacts,
    experiment,
    load,
    measure,
)
from jaxgen.tasks.synthesis.plans import drawn_by, measured
from jaxgen.tasks.synthesis.sets import Known, known, labelled, labelled_as, told

__all__ = [
    "FULL",
    "SAMPLE_FLAGS",
    "SMALL",
    "SMOKE",
    "STAGES",
    "Arm",
    "Known",
    "SynthesisConfig",
    "SynthesisFacts",
    "chosen_share",
    "compared",
    "drawing",
    "drawn_by",
    "experiment",
    "known",
    "labelled",
    "labelled_as",
    "load",
    "measure",
    "measured",
    "sample",
    "told",
    "usual",
    "with_pool",
]
