"""The stages of the offline part, and the search for a network within a budget."""
