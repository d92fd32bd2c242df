"""Ways to make a prompt, one file each."""
