"""Huge memory pages for programs on a CPU."""

import contextlib
import os
import sys


def more_memory_pages() -> None:
    """Start this process again with huge memory pages on a Linux CPU.

    Large temporary buffers are otherwise page-faulted anew each step. A U-Net's train step alone in its process gains 5
    to 10 per cent, with a slow step now and then while the system makes room; next to PyTorch in one process it loses.
    The setting is read when a process starts, hence the new start, which finds the setting made and goes on. Call it
    before anything is imported that takes long, and before anything is printed. It does nothing where there is an
    accelerator, elsewhere than on Linux, where ``GLIBC_TUNABLES`` is set already, and in tests.
    """
    accelerator = any(map(os.path.exists, ("/dev/nvidia0", "/dev/accel0", "/dev/vfio/0", "/dev/kfd")))
    on_cpu = os.environ.get("JAX_PLATFORMS", "").lower() == "cpu" or not accelerator
    if sys.platform != "linux" or not on_cpu or "GLIBC_TUNABLES" in os.environ or "PYTEST_VERSION" in os.environ:
        return
    if not getattr(sys, "orig_argv", None) or not sys.executable:
        return
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
