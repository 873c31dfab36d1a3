"""The Kubernetes adapter against an API server that refuses, lies low, or is changed by others."""
