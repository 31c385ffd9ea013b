"""What a test holds of a cluster of daemons: a swarm, its nodes, its services."""
