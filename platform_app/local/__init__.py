"""The one-laptop cluster: a Ray head with Ray's real autoscaler over simulated workers, and MLflow."""
