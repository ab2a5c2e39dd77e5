"""Applications as people write them; nothing in them knows of the agent. Their modules go by plain names."""
