"""Model files: model.onnx."""
