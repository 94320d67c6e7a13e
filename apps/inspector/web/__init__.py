"""The web side: who may come in, whose is what, uploads and downloads."""
