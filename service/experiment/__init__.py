"""The A/B test.

configuration -> plan (who is in which experiment, which arm) -> assigner (exposure recorded) -> arms (bundle, model,
micro-batcher); beside them watch/ (guardrails, stops, the live view) and shadow (other arms on the same frames).
"""
