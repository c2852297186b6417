"""What a recipe costs before it is run: amounts of every step, time on a machine by coefficients with their sources, money."""
