"""Weights and prompts of golden values that follow from a formula and so need not be kept; tests/common computes the same."""
import numpy as np


def uniform(name, n):
    """Element i of tensor NAME: uniform in [-1, 1), from SplitMix64 of FNV-1a(NAME) + i."""
    h = 0xCBF29CE484222325
    for b in name.encode():
        h = ((h ^ b) * 0x100000001B3) % 2**64
    with np.errstate(over="ignore"):
        z = np.arange(n, dtype=np.uint64) + np.uint64(h) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float32) / np.float32(2**23) - np.float32(1)


def tokens(n, vocab):
    return [(i * i * 31 + i * 7 + 3) % vocab for i in range(n)]
