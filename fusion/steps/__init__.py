"""Steps of the pipeline: each changes the network in one way, and says beside which others it may stand."""
