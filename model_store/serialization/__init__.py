"""Models as bytes and back: formats, what a file may name, native libraries, ONNX, compression."""
