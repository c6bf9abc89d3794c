"""Many methods on the same work."""
