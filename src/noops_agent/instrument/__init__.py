"""Instrumentation of libraries."""
