"""One module a use case: run, check, predict, ensemble, merge, import and the others, from a request to its result."""
