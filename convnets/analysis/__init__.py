"""What trained networks have learned, the figures of runs, and drawings of networks."""
