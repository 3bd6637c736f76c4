"""The execution environments: which are ready, who gets one and in which order, and what becomes of it afterwards.

Callers `enter` (and are refused at once when the house is full). Who finds an environment ready has it then and there;
everybody else `wait`s, and the environment that becomes ready next goes to whoever of that function has waited longest.
An environment that was used is discarded, and another is made in its place, off everybody's path.

The pool decides under one lock and works outside of it. Every event (a call, an environment that became ready, a place
that became free) ends in the same two questions: who can be served now (`Planner.serve`), and what must be made
(`Planner.plan`).
"""

from function_runner.pool.figures import PoolState, PoolStatistics, PoolTotals
from function_runner.pool.place import Place
from function_runner.pool.planner import MAX_READY
from function_runner.pool.pool import DIAGNOSED_LINES, Pool

__all__ = ["DIAGNOSED_LINES", "MAX_READY", "Place", "Pool", "PoolState", "PoolStatistics", "PoolTotals"]
