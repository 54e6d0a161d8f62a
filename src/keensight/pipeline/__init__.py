"""Stages that verbs share: prepare, finish, resume and others."""
