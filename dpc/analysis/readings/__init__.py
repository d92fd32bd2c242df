"""What is read off stored saliency: flow, accumulation, S_IFP, baselines, located vectors."""
