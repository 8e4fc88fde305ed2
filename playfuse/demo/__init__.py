"""`playfuse demo`: session logs in, fused predictions out under load, in one go, with nothing prepared."""
