"""Registration: displacement fields that bring one image to another."""
