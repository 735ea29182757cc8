"""What the long-running programs are made of."""
