"""Between the wire and the core: decoding, encoding, and the threads that carry calls."""
