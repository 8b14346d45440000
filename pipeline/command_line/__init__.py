"""What the user asks for: options, their values, and the words that give them."""
