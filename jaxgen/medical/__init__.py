"""Medical systems built from the floors below."""
