"""Jobs and the places where they are done: here, in processes, on GPUs, on a cluster."""
