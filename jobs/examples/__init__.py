"""Jobs to start from, and a tour of them all: `python -m jobs.examples.demo`."""
