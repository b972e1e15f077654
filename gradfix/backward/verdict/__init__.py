"""From what runs reported to a verdict: comparisons, oracles, evidence, conflicts, costs."""
