"""Pruning: what is least worth its place goes. Criteria say what something is worth, targets what can go."""
