"""Readings of stored saliency: flow, accumulation, S_IFP, baselines, located vectors."""
