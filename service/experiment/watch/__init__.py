"""What this pod sees of its experiments: evidence that may be looked at all the time, guardrails, stops, the view."""
