"""What both halves share: behaviours, histories, features, artifact. NumPy and pydantic only."""
