"""The journey of one invocation, from the door to the answer. Nothing else knows the order of its steps.

    synchronous:   look up -> validate -> enter -> record -> (wait -> record) -> dispatch -> record -> answer
    asynchronous:  look up -> validate -> record -> answer;   later: enter -> (wait) -> record -> dispatch -> record

A synchronous one that finds an execution environment ready is recorded together with it, by one commit, and does not
wait. An asynchronous one waits in the record itself until the dispatcher claims it and calls `Invoker.run`.
Read `Invoker.invoke`, `Invoker.submit`, `Invoker.run` and `Invoker._travel` from top to bottom; all else is detail.
"""

from function_runner.invoker.invoker import MAX_ONLOOKERS, Invoker

__all__ = ["MAX_ONLOOKERS", "Invoker"]
