"""Anomalies: healthy images to learn from, lesions to find, and what every method is compared with.

A recipe gives its configuration, its stages and its methods (`Method`); `Comparison` evaluates them with the baselines.
"""

from jaxgen.medical.anomaly import FLOOR, Found, Method, by_map, by_residual, cleaned, residual_of
from jaxgen.tasks.anomaly import restoration
from jaxgen.tasks.anomaly.data import PHANTOM, AnomalyConfig, LesionConfig, load, prepare, prepared
from jaxgen.tasks.anomaly.evaluation import Comparison
from jaxgen.tasks.anomaly.methods import by_network, draw_in_chunks, in_chunks
from jaxgen.tasks.anomaly.task import experiment, stage

__all__ = [
    "FLOOR",
    "PHANTOM",
    "AnomalyConfig",
    "Comparison",
    "Found",
    "LesionConfig",
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
    "residual_of",
    "restoration",
    "stage",
]
