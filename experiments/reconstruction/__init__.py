"""Images from incomplete measurements."""
