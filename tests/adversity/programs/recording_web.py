"""The application of `web`, in a program that starts the agent and records while it is loaded."""

import time

from spans import record
from web import app  # noqa: F401

import noops_agent

noops_agent.init()
record("loaded")
noops_agent.flush()
time.sleep(0.2)  # a fork in C while another thread asks for the GIL breaks the interpreter itself
