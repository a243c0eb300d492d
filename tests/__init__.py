"""Makes `tests` ours: the distribution model-index installs a package of that name as well."""
