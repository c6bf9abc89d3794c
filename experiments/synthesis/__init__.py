"""Images drawn to be of use: for classifiers, and without giving patients away."""
