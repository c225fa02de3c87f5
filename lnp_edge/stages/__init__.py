"""The stages of the offline part in order, and the search for a network within a budget."""
