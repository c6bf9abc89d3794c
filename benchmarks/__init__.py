"""Speed and memory, beside PyTorch where that makes sense: ``python -m benchmarks.unet`` and its neighbours."""
