"""The mathematics: noise schedule, objective, samplers. Pure functions, each with its paper."""
