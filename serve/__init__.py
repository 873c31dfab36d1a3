"""Model serving. Imports `platform_app.specs` and nothing else of ours.

This package is called `serve`; Ray's is reached by `from ray import serve`, never by `import serve`.
"""
