"""The verbs: parse, call, show."""
