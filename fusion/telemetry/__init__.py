"""Telemetry: session logs in, features, labels and a split by player out."""
