"""Distillation: how a teacher's score and a fake score become a loss of the one-step student."""
