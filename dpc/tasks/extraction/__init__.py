"""Find a number or a letter in generated text."""
