"""The commands, a module for each family: each parses, calls one function of the packages, prints what it returns."""
