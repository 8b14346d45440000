"""How and where Beam's jobs run; imports the passes' counters and whatever stands below them."""
