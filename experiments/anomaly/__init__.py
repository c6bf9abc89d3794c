"""Anomalies: where a model of healthy images disagrees."""
