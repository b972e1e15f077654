"""Random programs run for real: the truth that gradfix's analysis and rewrites are measured by."""
