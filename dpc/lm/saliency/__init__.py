"""Attention saliency without keeping any layer's full map."""
