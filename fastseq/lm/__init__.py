"""Language models: the model, its training, sampling, and the files they are kept in."""
