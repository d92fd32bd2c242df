"""Gemma 2: scores and logits are capped, embeddings scaled, every other layer has a sliding window.

Torch's fused attention cannot cap scores before the softmax, so eager is the only kernel."""

from dpc.lm.families import Family

FAMILY = Family(kernels=("eager",), embedding_scale="scalar_embed_scale", logit_cap="final_logit_softcapping")
