"""Speed and memory, compared with PyTorch where that makes sense: ``python -m benchmarks.unet`` and its neighbours."""
