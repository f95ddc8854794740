"""One ComponentResource a file; ``containers`` holds what every container of the tier has in common."""
