"""Records of what happens in containers: commands, their output, facts of each container."""
