"""Comparisons with other libraries are looked at where they are asked for: to collect them is to import PyTorch."""


def pytest_ignore_collect(collection_path, config):
    return True if "not peers" in config.option.markexpr and collection_path.suffix == ".py" else None
