"""A small shop of four services, with no tracing code of its own: see README.md."""
