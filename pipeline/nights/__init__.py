"""What an earlier run has left, and what is taken up of it."""
