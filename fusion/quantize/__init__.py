"""Quantization: arrays in fewer bits in the file, float32 again when the file is loaded."""
