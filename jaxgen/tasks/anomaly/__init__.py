"""Anomalies: healthy images to learn from, lesions to find, and what every method is compared with.

A recipe gives its configuration, its stages and its methods (`Method`); `Comparison` evaluates them with the baselines.
"""

from jaxgen.tasks.anomaly.data import PHANTOM, AnomalyConfig, prepare
from jaxgen.tasks.anomaly.evaluation import Comparison
from jaxgen.tasks.anomaly.methods import FLOOR, Found, Method, by_map, by_network, by_residual, in_chunks
from jaxgen.tasks.anomaly.task import experiment, stage

__all__ = [
    "FLOOR",
    "PHANTOM",
    "AnomalyConfig",
    "Comparison",
    "Found",
    "Method",
    "by_map",
    "by_network",
    "by_residual",
    "experiment",
    "in_chunks",
    "prepare",
    "stage",
]
