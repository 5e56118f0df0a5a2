"""Compile ONNX models into circuits that run on encrypted data."""
