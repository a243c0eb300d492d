"""What people see of a run: images, plots, tables, and the report."""
