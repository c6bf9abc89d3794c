"""Images drawn by a model, and what a model can do to images."""
