"""Incremental fusion: one behaviour more, anew or less, and the rest as it was."""
