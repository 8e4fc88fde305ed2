"""Two artifacts side by side, as tables for people and as JSON for scripts."""
