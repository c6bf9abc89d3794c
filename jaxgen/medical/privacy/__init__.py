"""Privacy of generated images: sampling that rejects images of known people, tests for copies, and a release report."""
