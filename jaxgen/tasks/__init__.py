"""Tasks: one kind of question that is asked of a model, with its options, data, evaluation, figures and presets.

A recipe in ``experiments``, or one of yours, says what is new; a task does the rest.
"""
