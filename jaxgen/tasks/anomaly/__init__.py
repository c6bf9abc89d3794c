"""Anomalies: healthy images to learn from, lesions to find, and what every method is compared with.

A recipe gives its configuration, its stages and its methods (`Method`); `Comparison` evaluates them with the baselines.
"""

from jaxgen.medical.anomaly import FLOOR, RESIDUALS, Found, Method, by_map, by_residual, cleaned
from jaxgen.tasks.anomaly import restoration
from jaxgen.tasks.anomaly.data import PHANTOM, AnomalyConfig, load, prepare, prepared
from jaxgen.tasks.anomaly.evaluation import Comparison
from jaxgen.tasks.anomaly.methods import by_network, draw_in_chunks, in_chunks
from jaxgen.tasks.anomaly.task import experiment, stage

__all__ = [
    "FLOOR",
    "PHANTOM",
    "RESIDUALS",
    "AnomalyConfig",
    "Comparison",
    "Found",
    "Method",
    "by_map",
    "by_network",
    "by_residual",
    "cleaned",
    "draw_in_chunks",
    "experiment",
    "in_chunks",
    "load",
    "prepare",
    "prepared",
    "restoration",
    "stage",
]
