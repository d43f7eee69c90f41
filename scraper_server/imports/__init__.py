"""The work of turning a file of a source into a data set."""
