"""Qwen 2 and 2.5: biases on queries, keys and values; no BOS."""

from dpc.lm.families import Family

FAMILY = Family(kernels=("sdpa", "eager"))
