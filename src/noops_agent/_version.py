"""The version, in a file of its own, so that reading it loads nothing."""

VERSION = "0.1.0"
