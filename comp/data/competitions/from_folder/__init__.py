"""From a raw folder that nobody has described yet to the facts of a competition.toml, each with its evidence."""
