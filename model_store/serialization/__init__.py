"""Serializes models: formats, names that a file may hold, native libraries, ONNX, compression."""
