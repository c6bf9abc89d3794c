"""Images drawn from text."""
