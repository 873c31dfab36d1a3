"""Use cases of the API. They write what is wanted and read what is known; only the reconciler acts."""
