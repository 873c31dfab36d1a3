"""A stand-in of the KubeRay operator: it makes pods of RayClusters, and runs RayJobs and RayServices on them.

It follows KubeRay 1.7.0 in names, labels, commands, states, reasons and messages, as far as clients can see them.
Volcano and its like, multi-host groups, the feature gates that are off, TLS and Redis are left out.
"""
