"""The database's schema, step by step, written by hand; a test proves that the steps lead to `adapters.tables`."""
