"""Private images: generators, networks that recognise people, sampling that rejects them, and a release report."""
