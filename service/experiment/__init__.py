"""The A/B test: assignment (unit -> arm) and arms (bundle, session, micro-batcher)."""
