"""The API server: what is stored, who may do what, and the HTTP in front of it."""
