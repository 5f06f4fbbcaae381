"""One module for each framework, which knows that framework and no other: nothing here is imported by the rest."""
