"""Llama 2 and 3, and the embedded model: the plain decoder that the others are measured against."""

from dpc.lm.families import Family

FAMILY = Family(kernels=("sdpa", "eager"))
