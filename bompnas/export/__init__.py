"""From a trained, quantized model to integer files: LiteRT and a packed form, with proof that they compute the same."""
