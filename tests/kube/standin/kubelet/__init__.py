"""Nodes, and what happens on them: pods are scheduled, nodes come and go, containers are processes of this machine."""
