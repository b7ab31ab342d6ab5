"""The daemon: reads events, joins labels, feeds the detectors, keeps state, acts on the registry, serves HTTP."""

import os

# Matrices here are small: threads cost more than they give, and how sums are split over them would show in the digest
# of a baseline. It has to be said before numpy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
