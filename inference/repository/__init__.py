"""Several models in one server, each in the newest version that is good: loaded, tried, swapped, taken back."""
