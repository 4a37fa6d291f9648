"""Live delivery: who follows what, frames fanned out in rounds, and resuming without loss."""
