"""The networks of the Keras families and how they are trained. Only training imports these modules."""
