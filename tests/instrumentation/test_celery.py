"""Celery: sending and running of tasks, eagerly, in a worker of this process, and in real workers beside it."""
