"""The server at a scanner: raw lines in, images out, by the MRD streaming protocol."""
