"""One serving process per core behind one port, and one process that looks after them."""
