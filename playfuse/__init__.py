"""Composition root: joins the build half (`fusion`) and the run-time half (`inference`) in one command."""
