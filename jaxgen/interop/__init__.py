"""Files of other libraries: what they describe, in the notions of this one. Nothing here imports those libraries."""
