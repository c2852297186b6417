"""Checkpoints of a training: what lies in one, where they are kept, another number of workers, the rows of each step."""
