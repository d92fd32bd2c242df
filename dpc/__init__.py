"""Dynamic Prompt Corruption workbench: when do soft prompts break a model's reasoning, and does DPC repair it?"""

__version__ = "0.1.0"
