"""Applications as people write them; nothing in them knows of the agent. Programs import their modules by plain name."""
