"""What decides whether a form is exact: dtypes, domains, places, twins, and what stands against it."""
