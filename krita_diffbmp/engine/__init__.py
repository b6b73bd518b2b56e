"""The optimiser and its renderers: tensors in, tensors out. Imports neither Krita nor Qt."""
