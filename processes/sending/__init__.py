"""From a dispatch to outcomes, and what those and receipts lead to."""
