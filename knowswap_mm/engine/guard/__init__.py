"""The guard: looks at watched training samples during a phase, and decides (issue 26)."""
