"""Weights of others: files of tensors, read without running what lies in them, and the networks they belong to."""
