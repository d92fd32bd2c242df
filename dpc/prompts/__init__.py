"""What a soft prompt is, how one is made and how one is edited."""
