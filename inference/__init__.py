"""Run time of playfuse: serves one fused network in one batched gRPC call. Never imports torch."""
