"""Benchmarks: ratios against a named peer in the same run, written to a file with the machine and the versions."""
