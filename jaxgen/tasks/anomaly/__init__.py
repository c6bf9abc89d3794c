"""Anomalies: healthy images to learn from, lesions to find, and what every method is compared with."""
