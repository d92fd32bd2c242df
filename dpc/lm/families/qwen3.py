"""Qwen 3: queries and keys are normalised; no BOS."""

from dpc.lm.families import Family

FAMILY = Family(kernels=("sdpa", "eager"))
