"""The order in which the house shuts down."""

from types import SimpleNamespace
from unittest.mock import Mock, call

from function_runner.app import House
from function_runner.settings import Settings


def test_who_follows_what_still_runs_sees_its_end():
    done = Mock()
    services = SimpleNamespace(invoker=done.invoker, pool=done.pool, followers=done.followers)
    threads = (done.runtime_api, done.reaper, done.dispatcher, done.scheduler, done.callbacks)
    House(Settings(drain_seconds=7), services, done.models, *threads).drain()
    assert done.mock_calls == [call.invoker.drain(7), call.pool.close(), call.followers.close()]
