"""What is found out before hours are spent: the machine, a study's candidates, and the plugins."""
