"""What a test holds of a Kubernetes cluster: the handle, its nodes, its namespaces, the waits."""
