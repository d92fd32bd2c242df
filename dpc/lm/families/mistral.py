"""Mistral: Llama with grouped queries and, in the first version, a sliding window in every layer."""

from dpc.lm.families import Family

FAMILY = Family(kernels=("sdpa", "eager"))
