"""Record a span, then wait until the standard input is closed."""

import sys

from spans import record

import noops_agent

noops_agent.init()
record("wait")
sys.stdin.read()
