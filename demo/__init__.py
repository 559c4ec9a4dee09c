"""Show the gate at work on models that are trained on the spot."""
