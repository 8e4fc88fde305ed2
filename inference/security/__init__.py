"""Who may talk to the server: tokens, TLS, and where it may listen."""
