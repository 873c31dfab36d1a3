"""Specs to submit and, beside them, the user code that they name."""
