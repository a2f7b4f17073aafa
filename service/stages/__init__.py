"""The stages of a request, in order: admission, fetch, decode, tokenisation, micro-batch, inference, decision."""
