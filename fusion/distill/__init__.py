"""Distillation: what the teachers know, turned into targets for one network."""
