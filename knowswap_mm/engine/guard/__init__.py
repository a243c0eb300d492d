"""The guard: looks at held-out training samples during a phase, and decides (issue 26)."""
