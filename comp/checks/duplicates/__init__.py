"""The search for near-duplicates: hashes propose pairs, pixels laid over each other decide."""
