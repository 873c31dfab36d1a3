"""The HTTP door: thin routers from requests to services, and errors to problem documents."""
