"""What runs on the cluster: training and sweeps. Imports `platform_app.specs` and nothing else of ours."""
