"""Build the shipped files again: ``python -m jaxgen.data.nuclei_dsb2018 nuclei_dsb2018_256.npz OUT_DIR``."""

import sys

if len(sys.argv) != 3:
    raise SystemExit("usage: python -m jaxgen.data.nuclei_dsb2018 nuclei_dsb2018_256.npz OUT_DIR")

from jaxgen.data.nuclei_dsb2018.nuclei_dsb2018_dataset_builder import build

print(build(sys.argv[1], sys.argv[2]))
