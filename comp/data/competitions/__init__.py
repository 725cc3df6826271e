"""Competitions: their facts, their adapters, and where both are looked for."""
