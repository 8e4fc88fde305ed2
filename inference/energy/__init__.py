"""Energy of this process: measured where the machine shows its counters, otherwise estimated, always labelled."""
