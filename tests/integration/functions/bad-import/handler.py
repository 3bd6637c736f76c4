"""Imports a module that is nowhere."""

import a_module_that_is_nowhere  # noqa: F401


def handler(event, context):
    return "never"
