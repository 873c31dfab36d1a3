"""Workloads that come with Slipway. A workload says what to train; `jobs.loop` says how."""
