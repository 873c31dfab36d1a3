"""From an empty cluster to GPUs that scale from zero on spot, and back: `python -m tests.kube.e2e`."""
