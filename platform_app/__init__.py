"""Slipway's control plane: takes jobs, sweeps and deployments, and makes a Ray cluster carry them out."""
