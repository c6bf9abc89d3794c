"""One file a system: presets, wiring, what to measure and what to draw."""
