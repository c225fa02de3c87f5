"""The model file, model.onnx."""
