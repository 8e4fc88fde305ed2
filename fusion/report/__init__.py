"""The report: what an artifact's passport says, as one page for people."""
