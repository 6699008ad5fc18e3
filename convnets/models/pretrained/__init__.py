"""Weights files: reading .safetensors and PyTorch's files, and naming the network that a file fits."""
