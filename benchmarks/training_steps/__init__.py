"""Parts of benchmarks/step_time.py: tasks (what is trained) and loops (how)."""
