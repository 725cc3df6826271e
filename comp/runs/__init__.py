"""Run folders: what a run keeps, reads again and proves, and the ledger of submissions."""
