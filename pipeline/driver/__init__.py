"""From a command to its answer: what is done, in which order, and what is checked between."""
