"""Build time of playfuse: session logs and teachers in, one small fused network (an artifact) out."""
