"""Drills: each kills the real process and shows what it cost. `python -m tests.drills` runs them all."""
