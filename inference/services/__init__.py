"""One file per gRPC service. They are thin: statuses and names of the wire, nothing else."""
