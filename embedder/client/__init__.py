"""The client side of an OpenAI-compatible server: addresses, calls, retries, answers."""
