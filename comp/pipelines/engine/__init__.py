"""The engine behind `comp run --preset`: candidates, what they cost, what was decided, and what stands so far."""
