"""Medical systems built from the floors below: segmentation so far."""
