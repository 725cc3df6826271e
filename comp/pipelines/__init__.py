"""One module a use case: run, check, predict, ensemble, merge, import and the others, from a request to its result."""

import comp.console  # noqa: F401  its listener shows what pipelines say
