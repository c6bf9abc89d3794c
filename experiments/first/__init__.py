"""The smallest whole experiment, to read and to copy."""
