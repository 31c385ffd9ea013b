"""Tests of Kubernetes in a daemon; they take the node image that tools/kubernetes.py makes."""
