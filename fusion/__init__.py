"""Build time of playfuse: session logs and teachers in, one small fused network (an artifact) out."""

import os

# OpenMP threads sleep while they wait for one another; it has to be said before torch or LightGBM is loaded. By default
# they spin: where other work shares the cores, a spinning thread keeps the very thread from running that it waits for,
# and a step takes ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
