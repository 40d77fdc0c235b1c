"""Requests and answers: routes, keys, limits, pages, OpenAPI."""
