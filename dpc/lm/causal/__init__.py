"""Interventions on stored rationales: what changes if the prompt, its columns or its states are changed."""
