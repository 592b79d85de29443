"""Making pictures: what is asked for, the making, and the recipe inside each PNG."""
